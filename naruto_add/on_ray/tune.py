"""A sweep on Ray Tune: as many trials at once as fit, each trained from rung to rung, stopped where others do better.

A trial trains in pieces, one for each rung, with `on_ray.train` as any distillation does: with Ray Train and Ray Data,
or in its own process (`launcher: inline`). It reports between two pieces, when it has no workers. That is the point
of it: Tune ends a trial by ending its process, and in Ray 2.60 the placement group of a Ray Train run that is going on
in there stays behind, so that on a full cluster the next trial waits for ever (ray#54305). A piece starts from the
checkpoint of the one before; the price is a start of Ray Train for every rung.

A population (`sweep.population`) is such a sweep for every rung: trials that all must wait for each other would hold
processes for nothing, and find a place only if all fit at once.

What Tune knows is not kept: the ledger remembers what was decided and the checkpoints what was learnt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from naruto_add.config import ComputeConfig
from naruto_add.errors import UserError, raise_all
from naruto_add.on_ray import cluster
from naruto_add.on_ray.capacity import TRIAL_CPUS, check_sweep, trial_needs, trials_at_once
from naruto_add.on_ray.train import train_student
from naruto_add.sweep.ledger import CONTINUES, STOPPED, Entry, Ledger
from naruto_add.sweep.trials import CHECKPOINTS, Trial, has_lost_its_start, measured, scores
from naruto_add.training.guards import TrainingStopped

Say = Callable[[Entry], None]

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""No files of Tune's own loggers, Ctrl-C as anywhere else, and the output engine that can be silent: the newer one
prints a table even then."""
MAX_FAILURES = 3


def run_sweep(trials: Sequence[Trial], ledger: Ledger, parallel: int | None, folder: Path, say: Say) -> None:
    """Run these trials to their last rung, `parallel` at once (None: as many as fit).

    `say` hears of every decision. The same call after an interruption goes on. Raises UserError for what a trial has
    found to be the user's mistake (a student that fails to learn is none, it is a result), and where the trials do not
    fit the cluster.
    """
    if not trials:
        return
    compute = trials[0].recipe.compute
    os.environ.update(QUIET)
    cluster.start(compute)
    raise_all(check_sweep(compute, parallel, ray.cluster_resources()))
    at_once = parallel or trials_at_once(ray.cluster_resources(), compute)
    shutil.rmtree(folder, ignore_errors=True)  # Tune's records of an interrupted sweep
    referee = Referee(ledger, {trial.number: trial.work for trial in trials}, say)
    plain = {trial.number: trial.to_plain() for trial in trials}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(climb, plain=plain), resources(compute)),
        param_space={"trial": tune.grid_search(list(plain))},
        tune_config=tune.TuneConfig(
            scheduler=referee,
            max_concurrent_trials=at_once,
            reuse_actors=True,  # a process that has loaded torch is worth 10 s
            trial_dirname_creator=named,
            trial_name_creator=named,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(folder),
            failure_config=failures(compute),
            stop=Alarm(referee),
            verbose=0,
        ),
    )
    results = tuner.fit()
    raise_all(referee.mistakes)
    if results.errors:
        raise results.errors[0]


def resources(compute: ComputeConfig) -> dict[str, float]:
    """What a trial's own process reserves; Ray Train's workers ask for theirs beside it."""
    return trial_needs(compute) if compute.launcher == "inline" else {"CPU": TRIAL_CPUS}


def failures(compute: ComputeConfig) -> tune.FailureConfig:
    """What a trial's lost process means: on a cluster it is started again, at its last checkpoint.

    A Ray of our own has nobody to take back the places of workers whose trial was lost (see `TransientTrainer`), so
    the sweep ends, and the same command goes on.
    """
    return tune.FailureConfig(fail_fast=True) if cluster.is_ours(compute) else tune.FailureConfig(MAX_FAILURES)


def named(trial: tune.experiment.Trial) -> str:
    """Tune's name and folder for a trial."""
    return f"trial-{trial.config['trial']:03d}"


def climb(config: dict[str, Any], plain: Mapping[int, dict[str, Any]]) -> None:
    """A trial, in a process of Tune's: train to each rung in turn and report there; Tune may end it at a report."""
    trial = Trial.from_plain(plain[config["trial"]])
    for images in trial.rungs:
        tune.report({"images": images, **reach(trial, images)})


def reach(trial: Trial, images: int) -> dict[str, Any]:
    """Train to a rung, unless that was done before the sweep was interrupted; what was measured there."""
    try:
        if measured(trial.work, images) is None:
            if has_lost_its_start(trial):
                return {"mistake": f"{trial.work}: its checkpoint is damaged or gone. Remove this folder."}
            train_student(trial.recipe, trial.teacher, trial.shards, trial.work, None, until=images)
    except TrainingStopped as stopped:
        return {"failed": str(stopped)}
    except UserError as mistake:
        return {"mistake": str(mistake)}
    found = measured(trial.work, images)
    if found is None:
        return {"mistake": f"{trial.work}: no measurement at image {images} in its metrics. Remove this folder."}
    return {**found.numbers, "seconds": found.seconds}  # flat, as Tune hands it on


class Referee(tune.schedulers.FIFOScheduler):
    """Tune's scheduler: first come, first served; who goes on is the ledger's decision."""

    def __init__(self, ledger: Ledger, works: Mapping[int, Path], say: Say) -> None:
        super().__init__()
        self.ledger = ledger
        self.works = works
        self.say = say
        self.mistakes: list[str] = []

    def on_trial_result(self, tune_controller: object, trial: tune.experiment.Trial, result: dict[str, Any]) -> str:
        """See `TrialScheduler`: called in the driver with every report, one by one."""
        if "mistake" in result:
            self.mistakes.append(result["mistake"])
            return self.STOP
        number = trial.config["trial"]
        entry, new = self.ledger.judge(
            number, result["images"], scores(result), result.get("seconds", 0.0), result.get("failed")
        )
        if new:
            self.say(entry)
        if entry.verdict == STOPPED:  # it will not be gone on with, and its training state is large
            shutil.rmtree(self.works[number] / CHECKPOINTS, ignore_errors=True)
        return self.CONTINUE if entry.verdict == CONTINUES else self.STOP


class Alarm(tune.Stopper):
    """Ends the whole sweep at a user's mistake: the other trials would meet it too."""

    def __init__(self, referee: Referee) -> None:
        self.referee = referee

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """See `Stopper`: no trial alone."""
        return False

    def stop_all(self) -> bool:
        """See `Stopper`."""
        return bool(self.referee.mistakes)

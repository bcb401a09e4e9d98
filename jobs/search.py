"""A sweep's trials trained, each alone or as a population, and the artifact `sweep` that comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from jobs import console
from jobs.outcome import Say, Train, write
from jobs.stages import stage
from jobs.sweep import Sweep
from naruto_add.artifact import Artifact
from naruto_add.sweep.ledger import Entry, Ledger
from naruto_add.sweep.population import Pbt, exchange, founders
from naruto_add.sweep.trials import CHECKPOINTS, Trial, adopt

TUNES_OWN = "ray"


def tune(sweep: Sweep, count: int, parallel: int | None, confirm_seeds: int = 0) -> Artifact:
    """The artifact of a sweep of `count` trials: sweep.json, trials.csv, best.yaml and plots."""

    def make(folder: Path, work: Path) -> None:
        def train(trials: Sequence[Trial], ledger: Ledger, say: Say) -> None:
            from naruto_add.on_ray.tune import run_sweep

            run_sweep(trials, ledger, parallel, sweep.work / TUNES_OWN, say)

        ledger = sweep.ledger
        trials = search(sweep, count, ledger, train)
        write(sweep, trials, ledger, folder, confirm_seeds, train)

    config = sweep.config | {"trials": count, "confirm_seeds": confirm_seeds}
    return stage("tune", sweep.run, "sweep", config, sweep.parents, make)


def tell(entry: Entry) -> None:
    """A line for every decision."""
    text = f"  trial {entry.trial:3} {entry.verdict:9} at {entry.images:,} images: {entry.found}"
    values = {"trial": entry.trial, "images": entry.images, "fd_real": entry.distance, "verdict": entry.verdict}
    console.say("trial", text, **values, reason=entry.reason)


def search(sweep: Sweep, count: int, ledger: Ledger, train: Train) -> list[Trial]:
    """Train all trials, and return them as they ended."""
    if isinstance(sweep.search, Pbt):
        return evolve(sweep, sweep.search, ledger, train)
    trials = sweep.trials(count)
    train([trials[number] for number in ledger.open(count)], ledger, tell)
    return trials


def evolve(sweep: Sweep, rules: Pbt, ledger: Ledger, train: Train) -> list[Trial]:
    """Train a population from rung to rung.

    What is decided follows from the ledger alone and each step may be done again, so the same call goes on after a
    kill. Nobody trains on before all have taken over what they should, so it is still there.
    """
    lineages = founders(sweep.drawn(rules.trials), sweep.recipe, sweep.space)
    ended: dict[int, Trial] = {}
    for images, further in pairwise([*sweep.rungs, sweep.rungs[-1]]):
        here = {number: sweep.member(number, lineage, images) for number, lineage in lineages.items()}
        ended |= here
        train([trial for trial in here.values() if ledger.at(trial.number, images) is None], ledger, tell)
        if images < sweep.rungs[-1]:
            distances = {number: ledger.distance(number, images) for number in here}
            lineages = exchange(lineages, distances, images, sweep.recipe, sweep.space, rules)
            take_over({number: sweep.member(number, lineage, further) for number, lineage in lineages.items()}, here)
    return list(ended.values())


def take_over(after: Mapping[int, Trial], before: Mapping[int, Trial]) -> None:
    """Copy what has been taken over at a rung, then drop the training states that nobody goes on with."""
    replaced = [trial for number, trial in after.items() if trial.work != before[number].work]
    for trial in replaced:
        donor, images = before[trial.lineage[-2].trial], trial.lineage[-1].images
        if not trial.work.exists():
            tell_takeover(trial)
        adopt(donor.work, trial.work, images)
    kept = {trial.work for trial in after.values()}
    for trial in before.values():
        if trial.work not in kept:
            shutil.rmtree(trial.work / CHECKPOINTS, ignore_errors=True)


def tell_takeover(trial: Trial) -> None:
    """A line for a takeover."""
    donor, leg = trial.lineage[-2].trial, trial.lineage[-1]
    changed = {name: value for name, value in leg.settings.items() if value != trial.lineage[-2].settings[name]}
    text = f"  trial {leg.trial:3} goes on from trial {donor} at {leg.images:,} images: {changed}"
    console.say("takeover", text, trial=leg.trial, donor=donor, images=leg.images, settings=leg.settings)

"""A sweep of a run: its trials and their folders, and the artifact `sweep` that comes of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs import console
from jobs.stages import distill_config, stage, work_folder
from naruto_add import artifact
from naruto_add.artifact import Artifact, canonical, sha256_text
from naruto_add.config import Recipe
from naruto_add.sweep import results
from naruto_add.sweep.ledger import Entry, Ledger
from naruto_add.sweep.plots import PARALLEL, PARETO, draw_parallel, draw_pareto
from naruto_add.sweep.space import Space, recipe_of
from naruto_add.sweep.trials import Trial
from naruto_add.training import checkpoint
from naruto_add.training.pace import total_images
from naruto_add.training.telemetry import METRICS

SWEEP = results.SWEEP
LEDGER = "ledger.jsonl"
TUNES_OWN = "ray"


@dataclass(frozen=True)
class Sweep:
    """All that decides a sweep but for the number of its trials: with more of them it goes on where it was."""

    recipe: Recipe
    run: Path
    space: Space
    rungs: tuple[int, ...]
    reduction: int
    teacher: Artifact
    shards: Artifact

    @property
    def parents(self) -> dict[str, Artifact]:
        """What students are made from."""
        return {"teacher": self.teacher, "shards": self.shards}

    @property
    def measuring(self) -> dict[str, Any]:
        """What decides a student's distances beside the student."""
        scored = self.recipe.evaluate
        return {
            "rungs": list(self.rungs),
            "pictures": self.recipe.distill.measure_pictures,
            "steps": self.recipe.export.steps,
            "student_steps": list(scored.student_steps),
            "extractor": scored.extractor,
            "weights": scored.weights,
        }

    @property
    def config(self) -> dict[str, Any]:
        """As it goes into the artifact's key."""
        space = {"space": self.space.to_json(), "reduction": self.reduction, "measuring": self.measuring}
        return distill_config(self.recipe) | space

    @property
    def work(self) -> Path:
        """Where the ledger is."""
        return work_folder(self.run, "sweep", artifact.plan("sweep", self.config, self.parents).key).resolve()

    def student_work(self, recipe: Recipe) -> Path:
        """Where the distill stage would train the student of this recipe."""
        return work_folder(self.run, "distill", self.student_key(recipe))

    def student_key(self, recipe: Recipe) -> str:
        """The key of this recipe's student."""
        return artifact.plan("student", distill_config(recipe), self.parents).key

    def trials(self, count: int) -> list[Trial]:
        """The students to train: one with the recipe's own settings, then draws from the space."""
        drawn = self.space.draw(count - 1, self.recipe.seed)
        return [self._trial(number, settings) for number, settings in enumerate([{}, *drawn])]

    def _trial(self, number: int, settings: dict[str, Any]) -> Trial:
        from naruto_add.on_ray.train import rooted

        recipe = recipe_of(self.recipe, settings)
        key = sha256_text(canonical([self.student_key(recipe), self.measuring]))
        measured = replace(recipe.distill, measure_images=total_images(recipe.distill.optim))  # and at every rung
        return Trial(
            number, settings, rooted(replace(recipe, distill=measured)), self.teacher.path.resolve(),
            self.shards.path.resolve(), work_folder(self.run, "trial", key).resolve(), self.rungs,
        )  # fmt: skip


def tune(sweep: Sweep, count: int, parallel: int | None) -> Artifact:
    """The artifact of a sweep of `count` trials: sweep.json, trials.csv, best.yaml and two plots."""

    def make(folder: Path, work: Path) -> None:
        trials, ledger = sweep.trials(count), Ledger(sweep.work / LEDGER, sweep.rungs, sweep.reduction)
        from naruto_add.on_ray.tune import run_sweep

        run_sweep(trials, ledger, parallel, sweep.work / TUNES_OWN, say)
        write(sweep, trials, ledger, folder)

    return stage("tune", sweep.run, "sweep", sweep.config | {"trials": count}, sweep.parents, make)


def say(entry: Entry) -> None:
    """A line for every decision."""
    found = entry.reason if entry.distance is None else f"FD {entry.distance:,.1f}"
    text = f"  trial {entry.trial:3} {entry.verdict:9} at {entry.images:,} images: {found}"
    values = {"trial": entry.trial, "images": entry.images, "fd_real": entry.distance, "verdict": entry.verdict}
    console.say("trial", text, **values, reason=entry.reason)


def write(sweep: Sweep, trials: list[Trial], ledger: Ledger, folder: Path) -> None:
    """What came of it; raises UserError if no trial has come to its end."""
    rows = results.rows_of(trials, ledger, sweep.space)
    best, *others = results.ranked(rows)
    verdict = judged(sweep, trials, best.trial, [row.trial for row in others])
    results.write_results(folder, rows, verdict, {"measuring": sweep.measuring, "space": sweep.space.to_json()})
    recipe = recipe_of(sweep.recipe, trials[best.trial].settings)
    results.write_recipe(folder / results.BEST, replace(recipe, name=f"{recipe.name}-best"), [
        f"The best of {len(trials)} trials of `naruto-add tune` (trial {best.trial}) over {', '.join(best.settings)}.",
        f"FD {best.fd_real:,.1f} to the held-out images, N = {best.n}, {recipe.export.steps} steps, "
        f"after {best.images:,} images.",
        *([verdict.text] if verdict else []),
    ])  # fmt: skip
    draw_parallel(rows, sweep.space, folder / PARALLEL)
    draw_pareto(rows, folder / PARETO)
    hand_over(trials[best.trial].work, sweep.student_work(recipe))


def judged(sweep: Sweep, trials: list[Trial], best: int, others: list[int]) -> results.Verdict | None:
    """The best trial beside trial 0, or, if that is the best, beside the next; None without another one."""
    if not others:
        return None
    import torch

    from naruto_add.data.shards import Shards
    from naruto_add.evaluation.probe import held_out
    from naruto_add.on_ray.workers import FEATURES

    recipe, kept = sweep.recipe, sweep.work.parent / FEATURES
    other = 0 if 0 in others else others[0]
    real = held_out(recipe.evaluate, Shards(sweep.shards.path), torch.device("cpu"), kept)[1]
    return results.compare(trials[best], trials[other], real, recipe.evaluate.bootstrap, recipe.seed)


def hand_over(trial: Path, distill: Path) -> None:
    """Give the distill stage what the trial has learnt, so that it has nothing to do but to save the student."""
    if distill.exists():
        return
    aside = distill.with_name(f".{distill.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    last = checkpoint.newest(trial / "checkpoints")
    assert last is not None, "a trial that has finished has saved its state"
    shutil.copytree(last, aside / "checkpoints" / last.name)
    shutil.copy(trial / METRICS, aside / METRICS)
    aside.rename(distill)

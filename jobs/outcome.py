"""What comes of a sweep: table, plots, the best recipe, whether it beats the recipe's own settings, and its student."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from jobs import console
from jobs.ablation.table import over_seeds
from jobs.stages import distill_config
from jobs.sweep import Sweep
from naruto_add import artifact
from naruto_add.artifact import Artifact, canonical, sha256_text
from naruto_add.config import Recipe
from naruto_add.sweep import results
from naruto_add.sweep.branches import LINEAGE, draw_lineage
from naruto_add.sweep.ledger import FAILED, KEEPER, Entry, Ledger
from naruto_add.sweep.plots import PARALLEL, PARETO, draw_parallel, draw_pareto
from naruto_add.sweep.results import Confirmation, Row, Verdict
from naruto_add.sweep.space import recipe_of
from naruto_add.sweep.trials import CHECKPOINTS, Trial, adopt
from naruto_add.training import checkpoint

BRED = "best"
"""Beside the run's artifacts: the run of a student that no recipe trains, since its settings changed on the way."""

Say = Callable[[Entry], None]
Train = Callable[[Sequence[Trial], Ledger, Say], None]
"""Trains trials to their last rung, writes down in the ledger what was measured, and says it."""


def write(
    sweep: Sweep, trials: Sequence[Trial], ledger: Ledger, folder: Path, confirm_seeds: int, train: Train
) -> None:
    """Leave it all in `folder`; raises UserError if no trial has come to its end."""
    rows = results.rows_of(trials, ledger, sweep.space)
    best, *others = results.ranked(rows)
    verdict, again = compared(sweep, paired(trials, best.trial, [row.trial for row in others]), confirm_seeds, train)
    about = {"measuring": sweep.measuring, "space": sweep.space.to_json()}
    results.write_results(folder, rows, verdict, again, about)
    recipe = recipe_of(sweep.recipe, trials[best.trial].settings)
    told = [found.text for found in (verdict, again) if found is not None]
    comments = [*headline(best, recipe, len(trials)), *told]
    results.write_recipe(folder / results.BEST, replace(recipe, name=f"{recipe.name}-best"), comments)
    draw_parallel(rows, sweep.space, folder / PARALLEL)
    draw_pareto(rows, folder / PARETO)
    if best.lineage:
        draw_lineage(rows, ledger.entries, sweep.space, folder / LINEAGE)
    give_away(sweep, trials[best.trial], recipe)


def headline(best: Row, recipe: Recipe, count: int) -> list[str]:
    """What best.yaml says of itself."""
    said = [
        f"The best of {count} trials of `naruto-add tune` (trial {best.trial}) over {', '.join(best.settings)}.",
        f"FD {best.fd_real:,.1f} to the held-out images, N = {best.n}, {recipe.export.steps} steps, "
        f"after {best.images:,} images.",
    ]
    if len(best.lineage) > 1:
        said += [
            f"Its student has learnt with other settings before (trial@image: {best.way}). These are the last ones;",
            f"with them from the start it would be another. The one that was measured: {BRED}/student beside sweep/.",
        ]
    return said


def paired(trials: Sequence[Trial], best: int, others: Sequence[int]) -> tuple[Trial, Trial] | None:
    """The best trial and the recipe's own settings, or, if these are the best, the next; None without another one."""
    if not others:
        return None
    return trials[best], trials[KEEPER if KEEPER in others else others[0]]


def held_out(sweep: Sweep) -> Tensor:
    """Features (M, F) of the held-out images."""
    import torch

    from naruto_add.data.shards import Shards
    from naruto_add.evaluation import probe
    from naruto_add.on_ray.workers import FEATURES

    kept = sweep.work.parent / FEATURES
    return probe.held_out(sweep.recipe.evaluate, Shards(sweep.shards.path), torch.device("cpu"), kept)[1]


def compared(
    sweep: Sweep, pair: tuple[Trial, Trial] | None, seeds: int, train: Train
) -> tuple[Verdict | None, Confirmation | None]:
    """Two students beside each other, by pictures that have chosen neither, and, if asked for, their settings."""
    if pair is None:
        return None, None
    real = held_out(sweep)
    return judged(sweep, pair, real), confirm(sweep, pair, real, seeds, train) if seeds else None


def judged(sweep: Sweep, pair: tuple[Trial, Trial], real: Tensor) -> Verdict:
    """Two students beside each other."""
    return results.compare(*pair, real, sweep.recipe.evaluate.bootstrap, sweep.recipe.seed)


def confirm(sweep: Sweep, pair: tuple[Trial, Trial], real: Tensor, seeds: int, train: Train) -> Confirmation:
    """Two settings beside each other, each trained anew with so many other seeds."""
    numbers = [sweep.recipe.seed + place for place in range(1, seeds + 1)]
    again = [tuple(renewed(sweep, seed, 2 * place + turn, pair[turn]) for turn in (0, 1))
             for place, seed in enumerate(numbers)]  # fmt: skip
    name = sha256_text(canonical([trial.settings for trial in pair]))[:12]
    ledger = Ledger(sweep.work / f"confirm-{name}.jsonl", sweep.rungs[-1:], None)

    def say(entry: Entry) -> None:
        seed, trial = numbers[entry.trial // 2], pair[entry.trial % 2].number
        text = f"  trial {trial:3} anew, seed {seed}: {entry.found}"
        console.say("anew", text, trial=trial, seed=seed, fd_real=entry.distance, reason=entry.reason)

    train([trial for trials in again for trial in trials if ledger.last(trial.number) is None], ledger, say)
    whole = [place for place in range(seeds) if all(ledger.finished(trial.number) for trial in again[place])]
    differences = [judged(sweep, (again[place][0], again[place][1]), real).difference for place in whole]
    failed = [
        f"Seed {numbers[entry.trial // 2]}, {results.title(pair[entry.trial % 2].number)} failed: {entry.found}."
        for entry in ledger.entries
        if entry.verdict == FAILED and entry.trial < 2 * seeds
    ]
    interval = over_seeds(differences)
    return Confirmation(
        pair[0].number, pair[1].number, tuple(numbers[place] for place in whole), tuple(differences),
        (interval[0], interval[1]) if interval else None, tuple(failed),
    )  # fmt: skip


def renewed(sweep: Sweep, seed: int, number: int, trial: Trial) -> Trial:
    """A trial's settings from the start with another seed, measured at the end alone."""
    other = replace(sweep, recipe=replace(sweep.recipe, seed=seed), rungs=sweep.rungs[-1:])
    return other.alone(number, trial.settings)


def give_away(sweep: Sweep, best: Trial, recipe: Recipe) -> None:
    """The best trial's student: for the distill stage, or, if it was bred, for itself."""
    if len(best.lineage) > 1:
        keep_bred(sweep, best, recipe)
    else:
        hand_over(best.work, sweep.student_work(recipe))


def hand_over(trial: Path, distill: Path) -> None:
    """Give the distill stage what the trial has learnt, so that it has nothing to do but to save the student."""
    last = checkpoint.newest(trial / CHECKPOINTS)
    if last is not None:
        adopt(trial, distill, checkpoint.images_of(last))


def keep_bred(sweep: Sweep, best: Trial, recipe: Recipe) -> Artifact:
    """The student in a run folder of its own, with links to its teacher and shards, so that it can be evaluated there.

    Its lineage is part of its key: the distill stage would make another one of the same recipe.
    """
    home = sweep.run / BRED
    for kind, parent in sweep.parents.items():
        artifact.link(parent, home / kind)

    def make(folder: Path) -> None:
        from naruto_add.on_ray.train import train_student

        here = replace(best.recipe.compute, launcher="inline", workers=1, gpus_per_worker=0.0, zero_stage=None)
        train_student(replace(best.recipe, compute=here), best.teacher, best.shards, best.work, folder)

    config = distill_config(recipe) | {"lineage": [asdict(leg) for leg in best.lineage]}
    return artifact.build(home / "student", kind="student", config=config, parents=sweep.parents, make=make)

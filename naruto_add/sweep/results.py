"""What came of a sweep: a table, the best trial, whether it beats the recipe's own settings, and its recipe file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from torch import Tensor

from naruto_add.artifact import write_json
from naruto_add.config import Recipe
from naruto_add.errors import UserError
from naruto_add.evaluation.frechet import frechet_difference
from naruto_add.evaluation.probe import unseen
from naruto_add.sweep.ledger import FINISHED, KEEPER, Entry, Ledger
from naruto_add.sweep.population import Lineage
from naruto_add.sweep.space import Space
from naruto_add.sweep.trials import Trial

SWEEP, TABLE, BEST = "sweep.json", "trials.csv", "best.yaml"


@dataclass(frozen=True)
class Row:
    """A trial and how far it came."""

    trial: int
    settings: dict[str, Any]
    """Of the space, whether drawn or the recipe's own; in a population the last ones."""
    verdict: str
    images: int
    """Seen when it ended."""
    seconds: float
    """Of training."""
    n: int | None
    """Pictures of its distances on the way; None where it failed before the first."""
    fd_real: float | None
    """At its end; None where it failed."""
    kid_real: float | None
    rungs: dict[int, float]
    """Distances of this student on its way, whichever trial trained it then, by images seen."""
    few_steps: dict[int, tuple[float, float]]
    """Of a finished trial, by steps: distance over `surveyed` other pictures, and seconds a picture."""
    surveyed: int | None
    reason: str | None = None
    lineage: Lineage = ()
    """In a population: who trained the student, from which image on and with which settings; else empty."""

    @property
    def way(self) -> str:
        """The lineage in short: `3@0 > 1@450` was trial 3's until image 450."""
        return " > ".join(f"{leg.trial}@{leg.images}" for leg in self.lineage)


@dataclass(frozen=True)
class Verdict:
    """The best trial against the recipe's own settings (or, if it has them, the next best trial)."""

    best: int
    other: int
    difference: float
    """Frechet distance of the best less that of the other; below 0 is better."""
    interval: tuple[float, float]
    """95 %, over pictures in pairs of one caption and noise; the pictures have chosen neither of the two."""
    n: int
    steps: int

    @property
    def text(self) -> str:
        """What to believe."""
        low, high = self.interval
        measured = (
            f"{title(self.best)} against {title(self.other)}: FD {self.difference:+,.1f} [{low:+,.1f}, {high:+,.1f}], "
            f"N = {self.n} other captions and noises in {self.steps} steps. "
        )
        if high < 0:
            return measured + "It is better."
        return measured + (
            "It is worse there: its lead was chance." if low > 0 else "That may be chance: they cannot be told apart."
        )


@dataclass(frozen=True)
class Confirmation:
    """The same two settings again, each trained anew with other seeds: whether not only the students differ."""

    best: int
    other: int
    seeds: tuple[int, ...]
    """Those with which both trainings came to their end."""
    differences: tuple[float, ...]
    """By seed, as `Verdict.difference`."""
    interval: tuple[float, float] | None
    """95 % of their mean, Student's t over the seeds; None of fewer than two."""
    failed: tuple[str, ...] = ()
    """Why trainings failed."""

    @property
    def text(self) -> str:
        """What to believe."""
        pairs = ", ".join(
            f"{value:+,.1f} (seed {seed})" for seed, value in zip(self.seeds, self.differences, strict=True)
        )
        told = [f"Trained anew, {title(self.best)} against {title(self.other)}: FD {pairs or 'unknown'}."]
        if self.interval is not None:
            low, high = self.interval
            told.append(f"Mean {fmean(self.differences):+,.1f} [{low:+,.1f}, {high:+,.1f}] over seeds.")
            told.append(
                "Its settings are better." if high < 0
                else "Its settings are worse." if low > 0
                else "That may be chance: the settings cannot be told apart."
            )  # fmt: skip
        return " ".join([*told, *self.failed])


def title(trial: int) -> str:
    """What a trial is called in a sentence."""
    return f"trial {trial}" if trial != KEEPER else f"trial {KEEPER} (the recipe's own settings)"


def rows_of(trials: Sequence[Trial], ledger: Ledger, space: Space) -> list[Row]:
    """A row a trial that has been anywhere, the best first: those that came farthest, by their distance."""
    rows = [row_of(trial, ledger, space) for trial in trials if ledger.last(trial.number) is not None]
    return sorted(
        rows, key=lambda row: (-max(row.rungs, default=0), row.fd_real is None, row.fd_real or 0.0, row.trial)
    )


def row_of(trial: Trial, ledger: Ledger, space: Space) -> Row:
    """A trial that has been measured, or has failed."""
    entries = [entry for entry in ledger.entries if entry.trial == trial.trained_by(entry.images)]
    last = entries[-1]
    return Row(
        trial=trial.number,
        settings={each.setting: trial.value(each.setting) for each in space.ranges},
        verdict=last.verdict,
        images=last.images,
        seconds=round(max(entry.seconds for entry in entries), 1),
        n=next((int(entry.numbers["scored"]) for entry in entries if "scored" in entry.numbers), None),
        fd_real=last.distance,
        kid_real=last.numbers.get("kid_real"),
        rungs={entry.images: entry.distance for entry in entries if entry.distance is not None},
        few_steps=by_steps(last),
        surveyed=int(last.numbers["surveyed"]) if "surveyed" in last.numbers else None,
        reason=last.reason,
        lineage=trial.lineage,
    )


def by_steps(entry: Entry) -> dict[int, tuple[float, float]]:
    """Distance and seconds a picture for each number of steps, of a finished trial."""
    prefix = "fd_real_at_"
    steps = [int(name.removeprefix(prefix)) for name in entry.numbers if name.startswith(prefix)]
    return {count: (entry.numbers[f"{prefix}{count}"], entry.numbers[f"seconds_at_{count}"]) for count in steps}


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The finished trials, the smallest distance first; raises UserError if there are none."""
    finished = [row for row in rows if row.verdict == FINISHED]
    if not finished:
        reasons = "\n".join(f"  trial {row.trial}: {row.reason or row.verdict}" for row in rows)
        raise UserError(f"No trial came to its end; narrow the space, or mend the recipe's own settings.\n{reasons}")
    return finished


def compare(best: Trial, other: Trial, real: Tensor, resamples: int, seed: int) -> Verdict:
    """Two finished trials beside each other; `real` (M, F) are the features of the held-out images."""
    steps = best.recipe.export.steps
    mine, theirs = unseen(best.work, steps), unseen(other.work, steps)
    value, interval = frechet_difference(mine, theirs, real, resamples, seed)
    return Verdict(best.number, other.number, value, interval, len(mine), steps)


def write_recipe(path: Path, recipe: Recipe, comments: Sequence[str]) -> None:
    """A whole recipe as a YAML file, the comments above it."""
    head = "".join(f"# {line}\n" for line in comments)
    body = yaml.safe_dump(plain(asdict(recipe)), sort_keys=False, allow_unicode=True, width=120)
    path.write_text(head + body, encoding="utf-8")


def plain(value: Any) -> Any:
    """Tuples as lists, as YAML has them."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """A line a trial, for a spreadsheet."""
    lines = [flat(row) for row in rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def flat(row: Row) -> dict[str, Any]:
    """A row without nesting."""
    values = asdict(row)
    rungs, steps, settings = values.pop("rungs"), values.pop("few_steps"), values.pop("settings")
    values["lineage"] = row.way
    few = {f"fd_real_at_{n}_steps": fd for n, (fd, _) in steps.items()}
    few |= {f"seconds_at_{n}_steps": seconds for n, (_, seconds) in steps.items()}
    return values | settings | {f"fd_real_at_{images}_images": fd for images, fd in rungs.items()} | few


def write_results(
    folder: Path, rows: Sequence[Row], verdict: Verdict | None, again: Confirmation | None, describe: dict[str, Any]
) -> None:
    """`sweep.json` and `trials.csv`: everything, for a program and for a spreadsheet."""
    told = {
        name: None if found is None else {**asdict(found), "text": found.text}
        for name, found in (("verdict", verdict), ("confirmation", again))
    }
    write_json(folder / SWEEP, {**describe, **told, "trials": [asdict(row) for row in rows]})
    write_table(folder / TABLE, rows)

"""A trial: a recipe of its own, a work folder of its own, and what its metrics say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from naruto_add.artifact import flush
from naruto_add.config import Recipe
from naruto_add.errors import UserError
from naruto_add.sweep.population import Lineage
from naruto_add.sweep.space import value_of
from naruto_add.training import checkpoint
from naruto_add.training.telemetry import METRICS, whole_lines

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Trial:
    """One setting of the space, to be trained. All paths are seen by all machines."""

    number: int
    settings: dict[str, Any]
    """What differs from the sweep's recipe; empty for trial 0."""
    recipe: Recipe
    teacher: Path
    shards: Path
    work: Path
    rungs: tuple[int, ...]
    lineage: Lineage = ()
    """In a population: the student's way so far, the last leg being this trial's own; else empty."""

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, to be sent to another process."""
        return TypeAdapter(Trial).dump_python(self, mode="json")

    @staticmethod
    def from_plain(values: dict[str, Any]) -> Trial:
        """The opposite of `to_plain`."""
        return TypeAdapter(Trial).validate_python(values)

    def value(self, setting: str) -> Any:
        """What one of the recipe's settings is here."""
        return value_of(self.recipe, setting)

    def trained_by(self, images: int) -> int:
        """The trial that trained this student up to that image."""
        return next((leg.trial for leg in reversed(self.lineage) if leg.images < images), self.number)


@dataclass(frozen=True)
class Measured:
    """A trial's measurement at a rung."""

    numbers: dict[str, float]
    seconds: float
    """Of training until then, on all workers together."""


def measured(work: Path, images: int) -> Measured | None:
    """What the metrics in a work folder say about the student after so many images; None if it was not measured."""
    path = work / METRICS
    lines = whole_lines(path.read_text(encoding="utf-8")) if path.is_file() else []
    records = [record for line in lines if (record := json.loads(line))["images"] <= images]
    if not records or records[-1]["images"] != images or "fd_real" not in records[-1]:
        return None
    return Measured(scores(records[-1]), sum(record["seconds"] for record in records))


def scores(record: Mapping[str, float]) -> dict[str, float]:
    """Of a record, what the probe has measured."""
    names = ("fd_real", "kid_real", "scored", "surveyed", "seconds_at_")
    return {name: value for name, value in record.items() if name.startswith(names)}


def adopt(source: Path, target: Path, images: int) -> None:
    """Give a new work folder what another's student has learnt in so many images: its checkpoint and metrics.

    The source is only read. Nothing happens where `target` is there already, for it appears whole or not at all.
    Raises UserError where the checkpoint is gone, or a bit of it or of its copy has changed.
    """
    if target.exists():
        return
    learnt = Path(CHECKPOINTS, f"images-{images:012d}")
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    if (source / learnt).is_dir():
        shutil.copytree(source / learnt, aside / learnt)
    if (problem := checkpoint.defect(aside / learnt)) is not None:
        raise UserError(
            f"{source / learnt}: {problem}. Nobody can go on from it; remove the run's .work/sweep-* and .work/trial-* "
            "to begin the sweep anew."
        )
    shutil.copy(source / METRICS, aside / METRICS)
    for copied in (*(aside / learnt).iterdir(), aside / learnt, aside / METRICS, aside):
        flush(copied)
    aside.rename(target)
    flush(target.parent)


def has_lost_its_start(trial: Trial) -> bool:
    """Whether a student that was taken over from another has no valid checkpoint left: it must not begin anew."""
    start = trial.lineage[-1].images if trial.lineage else 0
    found = checkpoint.newest(trial.work / CHECKPOINTS) if start else None
    return bool(start) and (found is None or checkpoint.images_of(found) < start)

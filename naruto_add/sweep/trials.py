"""A trial: a recipe of its own, a work folder of its own, and what its metrics say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from naruto_add.config import Recipe
from naruto_add.training.telemetry import METRICS, whole_lines


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

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, to be sent to another process."""
        return TypeAdapter(Trial).dump_python(self, mode="json")

    @staticmethod
    def from_plain(values: dict[str, Any]) -> Trial:
        """The opposite of `to_plain`."""
        return TypeAdapter(Trial).validate_python(values)

    def value(self, setting: str) -> Any:
        """What one of the recipe's settings is here."""
        place: Any = self.recipe
        for part in setting.split("."):
            place = getattr(place, part)
        return place


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
    names = ("fd_real", "kid_real", "scored", "seconds_at_")
    return {name: value for name, value in record.items() if name.startswith(names)}

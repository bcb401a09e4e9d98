"""Training curves of the stages before, from their metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from naruto_add.evaluation import charts
from naruto_add.training.telemetry import METRICS, Record, whole_lines

POINTS = 100
"""Points of a curve; each is the mean of the steps around it."""


class Line(NamedTuple):
    """A metric, what it is called, and its colour (a CSS class)."""

    metric: str
    name: str
    colour: str


class Wanted(NamedTuple):
    """A chart of one stage; drawn where its method has recorded all the lines."""

    stage: str
    title: str
    lines: tuple[Line, ...]
    note: str = ""


WANTED = (
    Wanted("finetune", "Teacher: denoising loss", (Line("loss", "loss", "teacher"),)),
    Wanted(
        "distill",
        "Student: weighted loss terms",
        (
            Line("distillation_weighted", "distillation", "teacher"),
            Line("adversarial_weighted", "adversarial", "student"),
        ),
    ),
    Wanted(
        "distill",
        "Discriminator: mean logits",
        (Line("d_real", "real images", "floor"), Line("d_fake", "student's images", "student")),
        "Adversarial losses do not fall to zero when all is well: student and discriminator keep each other busy.",
    ),
    Wanted("distill", "Student: inconsistency along a trajectory", (Line("consistency", "consistency", "student"),)),
    Wanted("distill", "Student: distance to the teacher's results", (Line("output", "latents", "student"),)),
    Wanted("distill", "Student: distance to the teacher's features", (Line("features", "features", "student"),)),
)


@dataclass(frozen=True)
class Curve:
    """A chart, its title, and what to know about it."""

    title: str
    svg: str
    note: str = ""


def training_curves(runs: Path) -> list[Curve]:
    """The charts whose metrics are found below `runs`/STAGE-*/; none if there are none."""
    return [curve for wanted in WANTED if (curve := draw(wanted, records(runs, wanted.stage))) is not None]


def draw(wanted: Wanted, recorded: Sequence[Record]) -> Curve | None:
    """One chart, or None without two records that hold all its metrics."""
    metrics = {line.metric for line in wanted.lines}
    whole = [record for record in recorded if metrics <= record.keys()]
    if len(whole) < 2:
        return None
    lines = [(line.name, line.colour, thinned(whole, line.metric)) for line in wanted.lines]
    return Curve(wanted.title, charts.curves(lines), wanted.note)


def thinned(recorded: Sequence[Record], metric: str) -> list[charts.Point]:
    """At most POINTS points (images, mean of the metric)."""
    size = -(-len(recorded) // POINTS)
    parts = [recorded[start : start + size] for start in range(0, len(recorded), size)]
    return [(part[-1]["images"], sum(record[metric] for record in part) / len(part)) for part in parts]


def records(runs: Path, stage: str) -> list[Record]:
    """What the newest run of a stage recorded."""
    paths = sorted(runs.glob(f"{stage}-*/**/{METRICS}"), key=lambda path: path.stat().st_mtime)
    if not paths:
        return []
    return [json.loads(line) for line in whole_lines(paths[-1].read_text(encoding="utf-8"))]

"""Two pictures of a sweep: what was tried and what came of it, and what quality costs in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from naruto_add.sweep.ledger import KEEPER
from naruto_add.sweep.results import Row
from naruto_add.sweep.space import Range, Space

PARALLEL, PARETO = "parallel.png", "pareto.png"
COLOURS, STOPPED, TRIED, OWN = "viridis", "#c2c2c2", "#4a6fa5", "#b3392f"
INCHES_AN_AXIS, HEIGHT_INCHES, DPI = 1.6, 4.6, 120

Point = tuple[float, float]


@dataclass(frozen=True)
class Column:
    """An axis of the parallel coordinates, from 0 to 1."""

    title: str
    places: dict[int, float]
    """Where each trial crosses it."""
    ticks: list[tuple[float, str]]


def draw_parallel(rows: Sequence[Row], space: Space, path: Path) -> None:
    """Parallel coordinates: an axis a setting, then the distance at the first rung and at the end.

    Where settings have changed on the way, they are the last ones, and the first rung says nothing of them.

    A line a trial: coloured by its distance at the end, grey where it did not come so far, dashed for the recipe's own
    settings. Nothing is written where no trial has come to a rung.
    """
    reached = sorted({images for row in rows for images in row.rungs})
    if not reached:
        return
    end = reached[-1]
    columns = [setting_column(each, rows) for each in space.ranges]
    compared = [end] if any(len(row.lineage) > 1 for row in rows) else dict.fromkeys((reached[0], end))
    columns += [rung_column(images, rows) for images in compared]
    drawing = Figure(figsize=(INCHES_AN_AXIS * (len(columns) + 1), HEIGHT_INCHES), layout="constrained")
    axis = drawing.subplots()
    distances = [row.rungs[end] for row in rows if end in row.rungs]
    norm, colours = Normalize(min(distances), max(distances)), colormaps[COLOURS]
    for row in sorted(rows, key=lambda row: end in row.rungs):  # the coloured lines on top
        line = [(at, column.places[row.trial]) for at, column in enumerate(columns) if row.trial in column.places]
        colour = colours(norm(row.rungs[end])) if end in row.rungs else STOPPED
        axis.plot(*zip(*line, strict=True), color=colour, marker="o", ms=3, ls="--" if row.trial == KEEPER else "-")
    dress(axis, columns)
    drawing.colorbar(ScalarMappable(norm, colours), ax=axis, label=f"FD at {end:,} images, N = {rows[0].n}")
    drawing.savefig(path, dpi=DPI)


def dress(axis: Axes, columns: Sequence[Column]) -> None:
    """Upright lines with their values, and titles below."""
    for at, column in enumerate(columns):
        axis.axvline(at, color="#777777", lw=0.8, zorder=0)
        for place, text in column.ticks:
            axis.annotate(text, (at, place), textcoords="offset points", xytext=(4, 0), fontsize=7, va="center")
    axis.set_xticks(range(len(columns)), [column.title for column in columns], fontsize=8)
    axis.set_yticks([])
    axis.set_xlim(-0.2, len(columns) - 0.5)
    axis.spines[:].set_visible(False)


def setting_column(each: Range, rows: Sequence[Row]) -> Column:
    """The axis of a setting; the recipe's own value may lie outside what was drawn from."""
    title = each.setting.removeprefix("distill.").replace(".", ".\n")
    values = {row.trial: row.settings[each.setting] for row in rows}
    if each.kind == "choice":
        names = list(dict.fromkeys(map(shown, [*each.values, *values.values()])))
        places = {name: (at + 0.5) / len(names) for at, name in enumerate(names)}
        return Column(title, {trial: places[shown(value)] for trial, value in values.items()}, flipped(places))
    numbers = [float(value) for value in (*each.values, *values.values())]
    log = each.kind == "loguniform" and min(numbers) > 0
    return numeric(title, {trial: float(value) for trial, value in values.items()}, min(numbers), max(numbers), log)


def rung_column(images: int, rows: Sequence[Row]) -> Column:
    """The axis of the distance at a rung, of the trials that came there."""
    values = {row.trial: row.rungs[images] for row in rows if images in row.rungs}
    return numeric(f"FD at\n{images:,} images", values, min(values.values()), max(values.values()), log=False)


def numeric(title: str, values: dict[int, float], low: float, high: float, log: bool) -> Column:
    """A linear or logarithmic axis from `low` to `high`."""

    def place(value: float) -> float:
        """From 0 to 1."""
        share, whole = (math.log(value / low), math.log(high / low)) if log else (value - low, high - low)
        return share / whole if whole else 0.5

    middle = (low * high) ** 0.5 if log else (low + high) / 2
    ticks = [(place(value), shown(value)) for value in (low, middle, high)]
    return Column(title, {trial: place(value) for trial, value in values.items()}, ticks)


def flipped(places: dict[str, float]) -> list[tuple[float, str]]:
    """Names by place as ticks."""
    return [(place, name) for name, place in places.items()]


def shown(value: Any) -> str:
    """A value as an axis shows it: equal numbers alike."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{float(value):.3g}" if number and abs(value) < 1000 else f"{value:,.0f}" if number else str(value)


def draw_pareto(rows: Sequence[Row], path: Path) -> None:
    """Distance against the seconds of a picture, of every finished trial at each number of steps, and the front."""
    marks = [
        (seconds, distance, row.trial, steps)
        for row in rows
        for steps, (distance, seconds) in row.few_steps.items()
    ]  # fmt: skip
    if not marks:
        return
    surveyed = next(row.surveyed for row in rows if row.few_steps)
    drawing = Figure(figsize=(8, HEIGHT_INCHES), layout="constrained")
    axis = drawing.subplots()
    best = front([(seconds, distance) for seconds, distance, _, _ in marks])
    for seconds, distance, trial, steps in marks:
        axis.plot(seconds, distance, "o", color=OWN if trial == KEEPER else TRIED, ms=6)
        if (seconds, distance) in best:
            axis.text(seconds, distance, f"  {trial}@{steps}", fontsize=8)
    axis.step(*zip(*best, strict=True), where="post", color="#777777", lw=1, zorder=0)
    axis.set_xscale("log")
    axis.set_xlabel("seconds a picture, drawn by the batch while the sweep was running")
    axis.set_ylabel(f"FD over pictures that chose nothing, N = {surveyed}")
    axis.set_title("trial@steps on the front; red: the recipe's own settings", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, dpi=DPI)


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats or equals in both, from left to right."""
    kept: list[Point] = []
    for x, y in sorted(points):
        if not kept or y < kept[-1][1]:
            kept.append((x, y))
    return kept

"""The picture of a population: how far its students were at each rung, who took over from whom, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from naruto_add.sweep.ledger import KEEPER, Entry
from naruto_add.sweep.plots import DPI, OWN, STOPPED, TRIED, shown
from naruto_add.sweep.results import Row
from naruto_add.sweep.space import Range, Space

LINEAGE = "lineage.png"
PANEL_INCHES, PANELS_A_ROW = 3.6, 3
BEST = "#e08a00"


def draw_lineage(rows: Sequence[Row], entries: Sequence[Entry], space: Space, path: Path) -> None:
    """The distance of each student that is left along its own way, and each setting on that way.

    Branches are takeovers; crosses are students that nobody went on with. The best is orange, the recipe's own settings
    are red and dashed. `rows` come best first.
    """
    drawn = [row for row in rows if row.rungs]
    if not drawn:
        return
    across = min(PANELS_A_ROW, 1 + len(space.ranges))
    down = -(-(1 + len(space.ranges)) // across)
    drawing = Figure(figsize=(PANEL_INCHES * across, PANEL_INCHES * 0.8 * down), layout="constrained")
    axes = list(drawing.subplots(down, across, squeeze=False).flat)
    draw_distances(axes[0], drawn, entries)
    for axis, each in zip(axes[1:], space.ranges, strict=False):
        draw_setting(axis, each, drawn)
    for axis in axes[1 + len(space.ranges) :]:
        axis.set_visible(False)
    for axis in axes:
        axis.tick_params(which="both", labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    drawing.suptitle("orange: the best; red: the recipe's own settings; crosses: gone on with by nobody", fontsize=8)
    drawing.supxlabel("images seen", fontsize=9)
    drawing.savefig(path, dpi=DPI)


def draw_distances(axis: Axes, rows: Sequence[Row], entries: Sequence[Entry]) -> None:
    """Distance against images, the best on top."""
    axis.set_title(f"FD, N = {rows[0].n}", fontsize=9)
    alive = {(images, distance) for row in rows for images, distance in row.rungs.items()}
    left = {(entry.images, entry.distance) for entry in entries if entry.distance is not None} - alive
    axis.plot(*zip(*sorted(left), strict=True) if left else ((), ()), "x", color=STOPPED, ms=5)
    for row in reversed(rows):
        axis.plot(list(row.rungs), list(row.rungs.values()), marker="o", ms=3, **style(row, rows[0]))
        end = max(row.rungs)
        axis.annotate(f" {row.trial}", (end, row.rungs[end]), fontsize=7, va="center")


def draw_setting(axis: Axes, each: Range, rows: Sequence[Row]) -> None:
    """A setting against images: it jumps where a student was taken over."""
    axis.set_title(each.setting.removeprefix("distill."), fontsize=9)
    names = [shown(value) for value in each.values] if each.kind == "choice" else []
    for row in reversed(rows):
        images, values = way(each, row)
        if names:
            names += [name for name in map(shown, values) if name not in names]
            values = [names.index(shown(value)) for value in values]
        axis.step(images, values, where="post", **style(row, rows[0]))
    if names:
        axis.set_yticks(range(len(names)), names)
    elif each.kind == "loguniform":
        axis.set_yscale("log")


def way(each: Range, row: Row) -> tuple[list[int], list[Any]]:
    """From which image on the setting had which value, and the last one again where the row ends."""
    images = [leg.images for leg in row.lineage]
    values = [leg.settings[each.setting] for leg in row.lineage]
    return [*images, row.images], [*values, values[-1]]


def style(row: Row, best: Row) -> dict[str, Any]:
    """How a row's lines are drawn."""
    colour = BEST if row is best else OWN if row.trial == KEEPER else TRIED
    return {"color": colour, "lw": 2.2 if row is best else 1, "ls": "--" if row.trial == KEEPER else "-"}

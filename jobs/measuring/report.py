"""The benchmark's results as tables for a person, and its ratios as one chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from jobs.measuring.alternate import Result
from naruto_add.export.card import figure

COLOURS = {"passed": "#2e7d5b", "missed": "#b3392f", "noisy": "#9a9a9a", "for information": "#4a6fa5"}
HEADINGS = ("row", "value", "+-", "unit", "beside", "its value", "ratio", "bar", "verdict")
CURVES_A_LINE, CURVE_INCHES = 3, 2.8
CHART_WIDTH_INCHES, BAR_INCHES, MARGIN_INCHES = 9.0, 0.55, 1.2


def results_table(results: Sequence[Result]) -> Table:
    """One line a row; +- is the median absolute deviation."""
    table = Table(title="Benchmark", title_justify="left")
    for number, heading in enumerate(HEADINGS):
        numeric = number in (1, 2, 5, 6)
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric)
    for each in results:
        table.add_row(
            each.title, figure(each.value), figure(each.spread), each.unit, each.peer_title or "-", figure(each.peer),
            figure(each.ratio), each.bar or "-", f"[{COLOURS[each.verdict]}]{each.verdict}[/]",
        )  # fmt: skip
    return table


def parts_table(result: Result) -> Table:
    """What a row is made of, the largest part first."""
    parts = result.parts or {}
    table = Table(title=result.title, title_justify="left")
    for heading in ("part", result.unit, "share"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    total = sum(parts.values())
    for part, value in sorted(parts.items(), key=lambda item: -item[1]):
        table.add_row(part, figure(value), f"{value / total:.0%}")
    return table


def draw_growth(results: Sequence[Result], path: Path) -> None:
    """Time or memory against size for each row that has a curve, on logarithmic axes, beside a line of exponent 1.

    Nothing is written where no row has one.
    """
    from matplotlib.figure import Figure

    rows = [each for each in results if each.curve is not None]
    if not rows:
        return
    lines = -(-len(rows) // CURVES_A_LINE)
    drawing = Figure(figsize=(CHART_WIDTH_INCHES, CURVE_INCHES * lines), layout="constrained")
    for place, each in enumerate(rows, 1):
        draw_curve(drawing.add_subplot(lines, CURVES_A_LINE, place), each)
    drawing.savefig(path, dpi=110)


def draw_curve(axis: Any, result: Result) -> None:
    """One row's medians, and what a linear growth from the first of them would be."""
    assert result.curve is not None
    points = {size: median(found) for size, found in result.curve.points.items()}
    sizes, values = list(points), list(points.values())
    axis.plot(sizes, [values[0] * size / sizes[0] for size in sizes], color="#999999", linestyle="--", linewidth=1)
    axis.plot(sizes, values, color=COLOURS[result.verdict], marker="o")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], fontsize=7)
    axis.set_yticks(values, [figure(value) for value in values], fontsize=7)
    axis.minorticks_off()
    axis.set_title(f"{result.title}: {result.value:.2f}", fontsize=9)
    axis.set_xlabel(result.curve.x, fontsize=8)
    axis.set_ylabel(result.curve.y, fontsize=8)


def draw_ratios(results: Sequence[Result], path: Path) -> None:
    """A bar for each ratio, from 1 on a logarithmic axis, with its quartiles; a black stroke marks the limit.

    Nothing is written where no row has a peer.
    """
    from matplotlib.figure import Figure

    rows = [(each, each.ratio, each.ratio_quartiles) for each in results if each.ratio and each.ratio_quartiles]
    if not rows:
        return
    drawing = Figure(figsize=(CHART_WIDTH_INCHES, MARGIN_INCHES + BAR_INCHES * len(rows)), layout="constrained")
    axis = drawing.subplots()
    for place, (each, ratio, (low, high)) in enumerate(rows):
        errors = [[max(0.0, ratio - low)], [max(0.0, high - ratio)]]
        axis.barh(place, ratio - 1, left=1, height=0.6, color=COLOURS[each.verdict], xerr=errors, ecolor="#555555")
        axis.annotate(f"  {figure(ratio)}", (max(1, high, each.limit or 0), place), va="center", fontsize=9)
        if each.limit is not None:
            axis.plot([each.limit] * 2, [place - 0.42, place + 0.42], color="black", linewidth=2)
    axis.set_yticks(range(len(rows)), [f"{each.title}\nbeside {each.peer_title}" for each, _, _ in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.margins(x=0.15)
    axis.axvline(1, color="#777777", linewidth=1)
    axis.set_xlabel("times the peer; black stroke: the bar")
    axis.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, dpi=110)

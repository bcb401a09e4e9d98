"""Small SVG charts that follow the page's colours (CSS variables), so that they suit light, dark and paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 16, 48
NAME_PX, LINE_PX = 90, 14
"""What a name beside a dot takes."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """A dot with its name and the ends of its interval."""

    x: float
    y: float
    name: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """Marks of one colour (a CSS class: student, teacher, base, floor)."""

    colour: str
    marks: Sequence[Mark]
    names_below: bool = False
    """Whether the names stand below the dots and to the left, or above and to the right."""


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis from data to SVG units."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value."""
        share = (self._scaled(value) - self._scaled(self.low)) / (self._scaled(self.high) - self._scaled(self.low))
        return self.start + share * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Some three to seven round values."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [m * 10.0**p for p in powers for m in (1, 3)]
        else:
            step = round_step((self.high - self.low) / 6)
            values = [step * n for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [value for value in values if self.low <= value <= self.high]


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return power * min(m for m in (1, 2, 5, 10) if m * power >= least)


def short(value: float) -> str:
    """A number as a tick shows it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def scatter(series: Sequence[Series], levels: Sequence[Mark], x_title: str, y_title: str) -> str:
    """Dots with intervals over a logarithmic x, joined within a series, and dashed `levels` (their y and name)."""
    marks = [mark for one in series for mark in one.marks]
    tops = [*(m.interval[1] if m.interval else m.y for m in marks), *(level.y for level in levels)]
    bottoms = [*(m.interval[0] if m.interval else m.y for m in marks), *(level.y for level in levels)]
    x = Axis(min(m.x for m in marks) / 2.2, max(m.x for m in marks) * 1.8, LEFT, WIDTH - RIGHT, log=True)
    y = Axis(min(0.0, *bottoms), max(tops) * 1.06, HEIGHT - BOTTOM, TOP)
    parts = grid(x, y, x_title, y_title)
    for level in levels:
        parts.append(line("level", (x.start, y(level.y)), (x.end, y(level.y))))
        below = any(level.y < other.y for other in levels)  # or two floors' names would lie on each other
        parts.append(text(WIDTH - RIGHT, y(level.y) + (15 if below else -5), level.name, "level end"))
    for one in series:
        parts += drawn_series(one, x, y)
    return svg(parts, WIDTH, HEIGHT, f"{y_title} against {x_title}")


def drawn_series(series: Series, x: Axis, y: Axis) -> list[str]:
    """A line through a series' marks, their intervals, dots and names."""
    places = [(x(mark.x), y(mark.y)) for mark in series.marks]
    parts = [f'<polyline class="line {series.colour}" points="{path(places)}"/>']
    for mark, (px, py) in zip(series.marks, places, strict=True):
        if mark.interval is not None:
            low, high = mark.interval
            parts.append(line(f"bar {series.colour}", (px, y(low)), (px, y(high))))
        parts.append(f'<circle class="dot {series.colour}" cx="{px:.1f}" cy="{py:.1f}" r="5"/>')
        dx, dy, anchor = (-8, 18, " end") if series.names_below else (9, -8, "")
        if not series.names_below and any(0 < a - px < NAME_PX and abs(b - py) < LINE_PX for a, b in places):
            dx, anchor = -9, " end"  # or it would run into its neighbour's
        parts.append(text(px + dx, py + dy, mark.name, f"name {series.colour}{anchor}"))
    return parts


def curves(series: Sequence[tuple[str, str, Sequence[Point]]], width: int = 350, height: int = 210) -> str:
    """Lines (name, colour, points) over images seen."""
    points = [point for _, _, track in series for point in track]
    x = Axis(0, max(p[0] for p in points), 46, width - 10)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    y = Axis(low - margin, high + margin, height - 34, 24)
    parts = grid(x, y, "images seen", "")
    for number, (name, colour, track) in enumerate(series):
        parts.append(f'<polyline class="line {colour}" points="{path([(x(a), y(b)) for a, b in track])}"/>')
        parts.append(text(50 + number * 150, 14, name, f"name {colour}"))
    return svg(parts, width, height, ", ".join(name for name, _, _ in series))


def grid(x: Axis, y: Axis, x_title: str, y_title: str) -> list[str]:
    """Horizontal lines, the values on both axes and their titles."""
    parts = []
    for value in y.ticks():
        parts.append(line("grid", (x.start, y(value)), (x.end, y(value))))
        parts.append(text(x.start - 8, y(value) + 4, short(value), "tick end"))
    for value in x.ticks():
        parts.append(text(x(value), y.start + 18, short(value), "tick middle"))
    parts.append(text((x.start + x.end) / 2, y.start + (36 if y_title else 31), x_title, "title middle"))
    if y_title:
        middle = text(0, 0, y_title, "title middle")
        parts.append(f'<g transform="translate(14 {(y.start + y.end) / 2:.0f}) rotate(-90)">{middle}</g>')
    return parts


def line(classes: str, start: Point, end: Point) -> str:
    """A straight line element."""
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{classes}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def path(points: Sequence[Point]) -> str:
    """The points of a polyline."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def text(x: float, y: float, content: str, classes: str) -> str:
    """A text element."""
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'


def svg(parts: Sequence[str], width: int, height: int, title: str) -> str:
    """A whole chart."""
    body = "".join(parts)
    return f'<svg viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>{body}</svg>'

"""A canvas that remembers which part every pixel belongs to, and pens that draw on it in their own coordinates.

The map of parts is what makes lines, cel shadows and cast shadows cheap: see `finish.py`. Later parts have greater
numbers, so that the map is also an order of depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from PIL import Image, ImageDraw

from naruto_add.data.universe.palette import Colour, gain

Point = tuple[float, float]
Matrix = tuple[float, float, float, float, float, float]
SUPERSAMPLE = 3
FIRST_PERSON_PART = 80
LAST_PART = 255


class Canvas:
    """A square RGB picture and the map of its parts, `side` supersampled pixels wide."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.image = Image.new("RGB", (side, side))
        self.parts = Image.new("L", (side, side))
        self.solid = ImageDraw.Draw(self.image)
        self.veil = ImageDraw.Draw(self.image, "RGBA")
        self._mark = ImageDraw.Draw(self.parts)
        self._part = 0

    def open_people(self) -> None:
        """From here on parts belong to people: they get the bold lines."""
        self._part = FIRST_PERSON_PART

    def part(self, points: Sequence[Point], colour: Colour, joined: bool) -> None:
        """Fill a polygon; `joined` gives it to the part before, so that no line runs between the two."""
        if not joined:
            self._part += 1
            if self._part == FIRST_PERSON_PART:
                self._part = 1
            self._part = min(self._part, LAST_PART)
        self.solid.polygon(points, fill=colour)
        self._mark.polygon(points, fill=self._part)


class Pen:
    """Draws in the coordinates of a thing: an affine map to pixels, and the light which falls on the thing."""

    def __init__(self, canvas: Canvas, matrix: Matrix, ambient: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
        self.canvas = canvas
        self.matrix = matrix
        self.ambient = ambient
        self.scale = math.hypot(matrix[0], matrix[3])

    def child(self, x: float, y: float, degrees: float = 0.0, scale: float = 1.0, flip: bool = False) -> Pen:
        """A pen whose origin lies at (x, y), turned clockwise, scaled, and mirrored when `flip`."""
        a, b, c, d, e, f = self.matrix
        cos, sin = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
        sx = -1.0 if flip else 1.0
        return Pen(
            self.canvas,
            (
                (a * cos + b * sin) * sx, b * cos - a * sin, a * x + b * y + c,
                (d * cos + e * sin) * sx, e * cos - d * sin, d * x + e * y + f,
            ),
            self.ambient,
        )  # fmt: skip

    def at(self, points: Iterable[Point]) -> list[Point]:
        """Points of the thing as pixels."""
        a, b, c, d, e, f = self.matrix
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in points]

    def part(self, points: Iterable[Point], colour: Colour, joined: bool = False) -> None:
        """A polygon with a line around it and a share in light and shadow."""
        self.canvas.part(self.at(points), gain(colour, self.ambient), joined)

    def ink(self, points: Iterable[Point], colour: Colour) -> None:
        """A polygon painted on what is there, with no line of its own."""
        self.canvas.solid.polygon(self.at(points), fill=gain(colour, self.ambient))

    def glaze(self, points: Iterable[Point], colour: Colour, alpha: int) -> None:
        """A translucent polygon, alpha 0..255; not dimmed by the hour."""
        self.canvas.veil.polygon(self.at(points), fill=(*colour, alpha))

    def line(self, points: Iterable[Point], width: float, colour: Colour) -> None:
        """A stroke, `width` in units of the thing."""
        pixels = max(1, round(width * self.scale))
        self.canvas.solid.line(self.at(points), fill=gain(colour, self.ambient), width=pixels, joint="curve")

    def veil_line(self, points: Iterable[Point], width: float, colour: Colour, alpha: int) -> None:
        """A translucent stroke, not dimmed by the hour."""
        pixels = max(1, round(width * self.scale))
        self.canvas.veil.line(self.at(points), fill=(*colour, alpha), width=pixels, joint="curve")

    def limb(self, start: Point, end: Point, widths: tuple[float, float], colour: Colour, joined: bool = False) -> None:
        """A tapered limb with round ends; `widths` are the radii at start and end."""
        self.part(capsule(start, end, *widths), colour, joined)


@lru_cache(maxsize=512)
def smooth(points: tuple[Point, ...], steps: int = 4) -> tuple[Point, ...]:
    """A closed Catmull-Rom curve through the points."""
    count, curve = len(points), []
    for i in range(count):
        corners = (points[i - 1], points[i], points[(i + 1) % count], points[(i + 2) % count])
        curve += [_catmull_rom(corners, step / steps) for step in range(steps)]
    return tuple(curve)


def _catmull_rom(p: tuple[Point, Point, Point, Point], t: float) -> Point:
    x, y = (
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(*p, strict=True)
    )
    return (x, y)


@lru_cache(maxsize=64)
def _unit_circle(count: int) -> tuple[Point, ...]:
    return tuple((math.cos(2 * math.pi * i / count), math.sin(2 * math.pi * i / count)) for i in range(count))


def ellipse(x: float, y: float, rx: float, ry: float, count: int = 18) -> list[Point]:
    """An ellipse as a polygon."""
    return [(x + rx * c, y + ry * s) for c, s in _unit_circle(count)]


def arc(x: float, y: float, rx: float, ry: float, degrees: tuple[float, float], count: int = 10) -> list[Point]:
    """A piece of an ellipse, clockwise on the screen from the first angle to the second (0 points right)."""
    first, last = (math.radians(value) for value in degrees)
    angles = [first + (last - first) * i / (count - 1) for i in range(count)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


def capsule(start: Point, end: Point, first: float, last: float) -> list[Point]:
    """Outline of a limb: two half circles of these radii and the tangents between."""
    heading = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
    return arc(*start, first, first, (heading + 90, heading + 270), 6) + arc(
        *end, last, last, (heading - 90, heading + 90), 6
    )


def mirrored(points: Iterable[Point]) -> list[Point]:
    """The same points on the other side of the vertical axis."""
    return [(-x, y) for x, y in points]

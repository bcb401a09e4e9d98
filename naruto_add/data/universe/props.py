"""What hands hold or throw: blades, a book, a stone; metal is drawn large so that it reads at 128 px."""

from __future__ import annotations

import math

from naruto_add.data.universe.canvas import Pen, Point, arc, ellipse, smooth
from naruto_add.data.universe.palette import INK, LEATHER, METAL, WHITE, Colour, mix
from naruto_add.data.universe.poses import Pose

BLADE: Colour = (96, 106, 126)


def draw_held(pen: Pen, action: str, pose: Pose, accent: Colour) -> None:
    """The object that belongs to an action, at the near hand."""
    if action in _HELD:
        _HELD[action](pen.child(*pose.hands[1]), accent)
    elif action == "reading":
        _book(pen, accent)


def _star(points: int, outer: float, inner: float, turn: float) -> list[Point]:
    step = math.pi / points
    return [
        (r * math.cos(turn + i * step), r * math.sin(turn + i * step)) for i, r in enumerate([outer, inner] * points)
    ]


def _shuriken(pen: Pen, accent: Colour) -> None:
    star = pen.child(0.95, -0.25)
    for y in (-0.35, 0.0, 0.35):
        star.veil_line([(-1.5, y * 0.7), (-0.3, y)], 0.08, WHITE, 210)
    star.part(_star(4, 0.78, 0.24, 0.35), BLADE)
    star.ink(_star(4, 0.5, 0.14, 0.35), METAL)
    star.ink(ellipse(0, 0, 0.13, 0.13, 8), INK)


def _kunai(pen: Pen, accent: Colour) -> None:
    knife = pen.child(0, 0, 20)
    knife.part([(-0.16, -0.3), (0.0, -1.6), (0.16, -0.3)], METAL)
    knife.part([(-0.3, -0.45), (0.0, -0.2), (0.3, -0.45), (0.0, -1.5)], METAL)
    knife.ink([(0.0, -0.3), (0.0, -1.45), (-0.22, -0.45)], WHITE)
    knife.part([(-0.1, -0.25), (0.1, -0.25), (0.1, 0.5), (-0.1, 0.5)], accent)
    knife.line(ellipse(0, 0.68, 0.16, 0.16, 12), 0.08, INK)


def _sword(pen: Pen, accent: Colour) -> None:
    blade = pen.child(0, 0, 32)
    blade.part([(-0.13, -0.3), (-0.15, -2.9), (0.05, -3.25), (0.16, -2.9), (0.13, -0.3)], METAL)
    blade.ink([(-0.1, -0.3), (-0.11, -2.9), (0.0, -3.1), (0.0, -0.3)], WHITE)
    blade.part([(-0.4, -0.36), (0.4, -0.36), (0.4, -0.18), (-0.4, -0.18)], (226, 182, 70))
    blade.part([(-0.11, -0.18), (0.11, -0.18), (0.11, 0.7), (-0.11, 0.7)], accent)
    sweep = arc(-1.2, 1.0, 3.6, 3.7, (-62, -2), 12)
    pen.glaze([*sweep, *reversed(arc(-1.2, 1.0, 3.6, 3.2, (-62, -2), 12))], WHITE, 150)


def _stone(pen: Pen, accent: Colour) -> None:
    for y in (-0.2, 0.15):
        pen.veil_line([(0.1, y), (0.8, y - 0.1)], 0.07, WHITE, 200)
    outline = ((0.9, -0.3), (1.2, -0.62), (1.6, -0.45), (1.62, 0.02), (1.25, 0.2), (0.92, 0.05))
    pen.part(smooth(outline), (150, 142, 136))
    pen.ink(ellipse(1.18, -0.32, 0.14, 0.1, 8), (206, 200, 194))


def _book(pen: Pen, accent: Colour) -> None:
    pen.part([(-0.85, 1.85), (0, 2.05), (0.85, 1.85), (0.85, 2.65), (0, 2.85), (-0.85, 2.65)], accent)
    pen.part([(-0.78, 1.78), (0, 2.0), (0.78, 1.78), (0.76, 1.92), (0, 2.14), (-0.76, 1.92)], (246, 240, 224))
    pen.line([(0, 2.08), (0, 2.82)], 0.06, mix(accent, INK, 0.5))
    pen.ink(ellipse(-0.42, 2.3, 0.14, 0.14, 8), mix(accent, WHITE, 0.7))
    pen.ink([(0.25, 2.24), (0.62, 2.15), (0.62, 2.24), (0.25, 2.33)], mix(LEATHER, WHITE, 0.6))


_HELD = {"shuriken": _shuriken, "kunai": _kunai, "sword fighting": _sword, "throwing": _stone}

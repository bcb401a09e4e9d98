"""Hair and what is worn on it. Coordinates of the head; shapes are data, spikes are straight, curls are smooth."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from naruto_add.data.universe.canvas import Pen, Point, arc, ellipse, smooth
from naruto_add.data.universe.palette import GOLD, INK, METAL, NAVY, WHITE, Colour, mix


class Crown(NamedTuple):
    """A star of hair behind the head: spikes between two angles (degrees, 270 = up), inner and outer radius, sweep."""

    spikes: int
    first: float
    last: float
    inner: float
    outer: float
    sweep: float


class Style(NamedTuple):
    """A hair style: the shape behind the head (a star or an outline) and the fringe before it."""

    back: Crown | tuple[Point, ...]
    fringe: tuple[Point, ...]
    curved: bool = False


_SPIKY_FRINGE = (
    (-1.04, 0.45), (-1.08, -0.4), (-0.75, -1.05), (-0.1, -1.25), (0.6, -1.12), (1.0, -0.6), (1.06, 0.4), (0.86, -0.05),
    (0.72, 0.2), (0.55, -0.28), (0.34, 0.02), (0.16, -0.34), (-0.08, 0.0), (-0.26, -0.36), (-0.5, 0.04), (-0.66, -0.26),
    (-0.86, 0.15),
)  # fmt: skip
_PARTED = (
    (-1.0, 0.85), (-1.12, 0.0), (-1.0, -0.75), (-0.4, -1.18), (0.3, -1.2), (0.95, -0.8), (1.12, 0.0), (1.0, 0.85),
    (0.9, 0.1), (0.62, -0.35), (0.1, -0.72), (-0.05, -0.72), (-0.5, -0.32), (-0.86, 0.1),
)  # fmt: skip
_SIDE = (
    (-1.0, 0.5), (-1.06, -0.5), (-0.6, -1.12), (0.2, -1.22), (0.85, -0.9), (1.06, -0.2), (1.0, 0.4), (0.84, -0.05),
    (0.5, -0.3), (0.5, -0.02), (0.1, -0.42), (-0.02, -0.02), (-0.4, -0.4), (-0.5, 0.08), (-0.82, -0.1),
)  # fmt: skip
_BANGS = (
    (-1.02, 0.75), (-1.12, -0.2), (-0.8, -0.98), (0.0, -1.24), (0.8, -0.98), (1.12, -0.2), (1.02, 0.75), (0.86, 0.1),
    (0.82, -0.42), (0.4, -0.38), (0.36, -0.46), (0.0, -0.4), (-0.36, -0.46), (-0.4, -0.38), (-0.82, -0.42),
    (-0.86, 0.1),
)  # fmt: skip
_CAP = ((-1.1, 0.5), (-1.16, -0.5), (-0.7, -1.15), (0.0, -1.34), (0.7, -1.15), (1.16, -0.5), (1.1, 0.5), (0, 0.7))
_LONG = ((-1.12, 2.7), (-1.32, 1.2), (-1.24, -0.4), (-0.75, -1.12), (0.0, -1.34), (0.75, -1.12), (1.24, -0.4),
         (1.32, 1.2), (1.12, 2.7), (0.7, 2.5), (0.3, 2.75), (-0.3, 2.5), (-0.7, 2.8))  # fmt: skip
_BOB = ((-1.2, 1.1), (-1.34, 0.4), (-1.2, -0.5), (-0.7, -1.15), (0.0, -1.34), (0.7, -1.15), (1.2, -0.5), (1.34, 0.4),
        (1.2, 1.1), (0.8, 1.3), (0.0, 1.2), (-0.8, 1.3))  # fmt: skip
_TAIL = ((-0.7, -1.15), (0.0, -1.34), (0.5, -1.3), (1.1, -1.75), (1.75, -1.4), (2.0, -0.3), (1.75, 0.9), (1.45, 0.0),
         (1.1, -0.6), (1.1, 0.5), (0, 0.7), (-1.1, 0.5), (-1.16, -0.5))  # fmt: skip
_CURLS = tuple(
    (r * math.cos(math.radians(a)) * 1.2, r * math.sin(math.radians(a)) * 1.15 - 0.1)
    for a, r in zip(range(150, 400, 12), [1.02, 1.34] * 10 + [1.02], strict=True)
)
_CURLY_FRINGE = ((-1.05, 0.5), (-1.15, -0.4), (-0.8, -1.0), (0.0, -1.22), (0.8, -1.0), (1.15, -0.4), (1.05, 0.5),
                 (0.82, 0.1), (0.78, -0.25), (0.5, -0.1), (0.32, -0.4), (0.05, -0.16), (-0.2, -0.42), (-0.46, -0.12),
                 (-0.72, -0.3), (-0.84, 0.1))  # fmt: skip

STYLES: dict[str, Style] = {
    "spiky": Style(Crown(9, 150, 390, 1.22, 1.9, 0), _SPIKY_FRINGE),
    "swept": Style(Crown(8, 140, 352, 1.2, 1.7, -20), _PARTED),
    "slanted": Style(Crown(8, 185, 385, 1.2, 1.9, 16), _SIDE),
    "short": Style(Crown(11, 165, 375, 1.18, 1.48, 0), _SIDE),
    "long": Style(_LONG, _PARTED, curved=True),
    "bob": Style(_BOB, _PARTED, curved=True),
    "bowl": Style(_CAP, _BANGS, curved=True),
    "ponytail": Style(_TAIL, _SIDE, curved=True),
    "curly": Style(_CURLS, _CURLY_FRINGE, curved=True),
}
_FLAT_UNDER_HAT = ("spiky", "swept", "slanted", "short", "ponytail", "curly")


def _star(crown: Crown, rng: np.random.Generator) -> list[Point]:
    step = (crown.last - crown.first) / crown.spikes
    jitter = rng.uniform(-0.13, 0.13, crown.spikes).tolist()
    points: list[Point] = []
    for i, shift in enumerate(jitter):
        base = crown.first + i * step
        tip = base + step / 2 + crown.sweep + shift * 40
        points += [_polar(base, crown.inner), _polar(tip, crown.outer + shift)]
    return [*points, _polar(crown.last, crown.inner), (0.0, 0.6)]


def _polar(degrees: float, radius: float) -> Point:
    angle = math.radians(degrees)
    return (radius * math.cos(angle), radius * math.sin(angle))


def draw_back(pen: Pen, style: str, colour: Colour, head: str, rng: np.random.Generator) -> None:
    """The hair behind the head."""
    if style == "bald" or head in ("hood", "helmet"):
        return
    back = STYLES[style].back
    if head in ("straw hat", "wizard hat", "bandana") and style in _FLAT_UNDER_HAT:
        pen.part(smooth(_CAP), mix(colour, INK, 0.12))
    elif isinstance(back, Crown):
        pen.part(_star(back, rng), mix(colour, INK, 0.08))
    else:
        pen.part(smooth(back), mix(colour, INK, 0.12))


def draw_fringe(pen: Pen, style: str, colour: Colour, lifted: bool, open_brow: bool) -> None:
    """The hair before the head: `lifted` above a headband, `open_brow` to show a mark on the forehead."""
    if style == "bald":
        return
    points = STYLES[style].fringe
    if lifted or open_brow:
        points = tuple((x, min(y, -0.62 if lifted else -0.7)) if abs(x) < 0.84 else (x, y) for x, y in points)
    pen.part(smooth(points) if STYLES[style].curved else points, colour)
    shine = mix(colour, WHITE, 0.5)
    for x in (-0.52, -0.2, 0.42):
        pen.ink([(x, -0.98), (x + 0.16, -1.02), (x + 0.05, -0.62)], shine)
    for x in (-0.72, 0.12, 0.7):
        pen.line([(x * 0.8, -1.0), (x, -0.6)], 0.035, mix(colour, INK, 0.4))


def draw_headband(pen: Pen, cloth: Colour, slanted: bool) -> None:
    """A cloth band with an engraved metal plate; slanted, it covers the eye on the action's far side."""
    band = pen.child(0.0, -0.44, -14 if slanted else 0)
    drop = 0.14 if slanted else 0.0
    band.part([(1.0, -0.1), (1.75, 0.1), (1.65, 0.45), (1.3, 0.25), (1.0, 0.12)], mix(cloth, INK, 0.15))
    band.part([(-1.06, -0.12), (0, -0.3), (1.06, -0.12), (1.06, 0.2), (0, 0.2 + drop), (-1.06, 0.24 + 2 * drop)], cloth)
    band.part([(-0.6, -0.24), (0, -0.28), (0.6, -0.24), (0.6, 0.14), (0, 0.15), (-0.6, 0.14)], METAL)
    band.ink([(-0.56, -0.2), (0.1, -0.22), (-0.1, -0.08), (-0.56, -0.08)], WHITE)
    band.line([(-0.2, 0.06), (-0.12, -0.12), (0.1, -0.14), (0.18, 0.0), (0.02, 0.04), (0.0, -0.06)], 0.055, INK)
    if slanted:
        pen.part(smooth(((-0.98, -0.35), (-0.1, -0.3), (-0.16, 0.22), (-0.5, 0.5), (-0.92, 0.42))), cloth)


def _hood(pen: Pen, cloth: Colour) -> None:
    outer = arc(0, 0.05, 1.34, 1.5, (130, 410), 20)
    inner = arc(0, 0.12, 0.92, 1.04, (398, 142), 18)
    pen.part([*outer[:9], (0.0, -1.72), *outer[11:], *inner], cloth)
    pen.line(arc(0, 0.12, 0.98, 1.1, (150, 390), 16), 0.07, mix(cloth, INK, 0.4))


def _straw_hat(pen: Pen, cloth: Colour) -> None:
    straw: Colour = (232, 190, 96)
    pen.part(smooth(((-1.9, -0.45), (-1.0, -0.85), (1.0, -0.85), (1.9, -0.45), (1.0, -0.38), (0, -0.34), (-1, -0.38))),
             straw)  # fmt: skip
    pen.part(smooth(((-0.9, -0.62), (-0.75, -1.4), (0, -1.62), (0.75, -1.4), (0.9, -0.62), (0, -0.55))), straw)
    pen.ink([(-0.9, -0.86), (0, -0.78), (0.9, -0.86), (0.9, -0.62), (0, -0.54), (-0.9, -0.62)], cloth)
    for x in (-1.4, -1.0, 1.0, 1.4):
        pen.line([(x * 0.8, -0.68), (x, -0.46)], 0.04, mix(straw, INK, 0.35))


def _wizard_hat(pen: Pen, cloth: Colour) -> None:
    pen.part([(-0.95, -0.6), (-0.35, -2.0), (0.3, -2.5), (0.95, -2.1), (0.5, -2.0), (0.95, -0.6)], cloth)
    pen.part(smooth(((-1.8, -0.4), (-0.9, -0.72), (0.9, -0.72), (1.8, -0.4), (0.9, -0.3), (0, -0.26), (-0.9, -0.3))),
             cloth)  # fmt: skip
    pen.ink([(-0.9, -0.86), (0.9, -0.86), (0.95, -0.66), (-0.95, -0.66)], GOLD)
    pen.ink(_sparkle(0.05, -1.4, 0.3), GOLD)


def _sparkle(x: float, y: float, radius: float) -> list[Point]:
    return [
        (x + r * math.cos(i * math.pi / 4), y + r * math.sin(i * math.pi / 4))
        for i, r in enumerate([radius, radius * 0.35] * 4)
    ]


def _helmet(pen: Pen, cloth: Colour) -> None:
    pen.part(smooth(((0.0, -1.3), (0.5, -2.1), (1.3, -2.0), (1.6, -1.2), (0.9, -1.4))), cloth)
    outer = arc(0, -0.1, 1.12, 1.3, (155, 385), 16)
    pen.part([(-1.08, 0.85), *outer, (1.08, 0.85), (0.7, 0.75), (0.78, -0.22), (0.12, -0.3), (0, 0.12), (-0.12, -0.3),
              (-0.78, -0.22), (-0.7, 0.75)], METAL)  # fmt: skip
    pen.line([(-0.9, -0.42), (0, -0.5), (0.9, -0.42)], 0.07, mix(METAL, INK, 0.5))
    pen.ink([(-0.5, -1.1), (-0.25, -1.2), (-0.35, -0.62), (-0.6, -0.6)], WHITE)


def _bandana(pen: Pen, cloth: Colour) -> None:
    pen.part([(0.9, -0.5), (1.55, -0.62), (1.45, -0.3), (1.6, 0.05), (0.95, -0.25)], mix(cloth, INK, 0.2))
    dome = arc(0, -0.35, 1.08, 1.05, (176, 364), 14)
    pen.part([*dome, (1.05, -0.3), (0.0, -0.46), (-1.05, -0.3)], cloth)
    for x, y in ((-0.55, -0.85), (0.0, -1.05), (0.55, -0.85), (-0.2, -0.68), (0.3, -0.68)):
        pen.ink(ellipse(x, y, 0.09, 0.09, 8), WHITE)


def _crown(pen: Pen, cloth: Colour) -> None:
    pen.part([(-0.75, -0.78), (-0.85, -1.6), (-0.42, -1.25), (0, -1.8), (0.42, -1.25), (0.85, -1.6), (0.75, -0.78),
              (0, -0.7)], GOLD)  # fmt: skip
    for x, y in ((-0.4, -0.98), (0.0, -0.95), (0.4, -0.98)):
        pen.ink(ellipse(x, y, 0.11, 0.13, 8), cloth)


def _ribbon(pen: Pen, cloth: Colour) -> None:
    pen.part([(-1.1, -0.55), (0, -1.0), (1.1, -0.55), (1.08, -0.8), (0, -1.28), (-1.08, -0.8)], cloth)


HEADGEAR = {
    "hood": _hood,
    "straw hat": _straw_hat,
    "wizard hat": _wizard_hat,
    "helmet": _helmet,
    "bandana": _bandana,
    "crown": _crown,
    "ribbon": _ribbon,
}
BAND_CLOTHS: tuple[Colour, ...] = (NAVY, INK, (150, 36, 44), (44, 96, 60))

"""Fire, water, lightning, wind and earth in three tones of a colour, glowing over what is already lit."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image

from naruto_add.data.universe.canvas import Canvas, Pen, Point, arc, ellipse, smooth
from naruto_add.data.universe.palette import ELEMENT, INK, Colour, mix

Tones = tuple[Colour, Colour, Colour]


@lru_cache(maxsize=1)
def _halo() -> Image.Image:
    """A round soft mask, 96 px wide, from 255 at the centre to 0 at the rim."""
    axis = np.linspace(-1.0, 1.0, 96)
    radius = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    return Image.fromarray((np.clip(1.0 - radius, 0.0, 1.0) ** 1.5 * 255).astype(np.uint8))


def glow(canvas: Canvas, centre: Point, radius: float, colour: Colour, strength: float) -> None:
    """Soft light around a pixel position; strength 0..1 is its opacity at the centre."""
    side = max(2, round(2 * radius))
    mask = _halo().resize((side, side), Image.Resampling.BILINEAR).point([round(v * strength) for v in range(256)])
    canvas.image.paste(colour, (round(centre[0] - radius), round(centre[1] - radius)), mask)


def draw_element(pen: Pen, element: str, colour: str, rng: np.random.Generator) -> None:
    """An element released around the pen's origin (the hand), about 1.5 units wide."""
    tones = ELEMENT[colour]
    ((x, y),) = pen.at([(0.2, -0.6)])
    glow(pen.canvas, (x, y), 3.4 * pen.scale, tones[1], 0.6)
    _DRAW[element](pen, tones, rng)
    glow(pen.canvas, (x, y), 1.1 * pen.scale, tones[2], 0.35)


def _flame(x: float, y: float, size: float, bend: float) -> tuple[Point, ...]:
    outline = ((0.0, 0.6), (-0.55, 0.35), (-0.62, -0.25), (-0.3, -0.8), (-0.28 + bend, -1.35),
               (0.02 + bend * 0.4, -0.85), (0.25 + bend * 1.6, -1.95), (0.45, -0.85), (0.66, -0.3),
               (0.52, 0.35))  # fmt: skip
    return tuple((x + size * px, y + size * py) for px, py in smooth(outline))


def _fire(pen: Pen, tones: Tones, rng: np.random.Generator) -> None:
    bends = rng.uniform(-0.5, 0.5, 5).tolist()
    spots = ((-0.85, 0.0, 0.7), (0.95, 0.0, 0.75), (0.1, -0.25, 1.15))
    for tone, shrink in zip(tones, (1.0, 0.72, 0.42), strict=True):
        for (x, y, size), bend in zip(spots, bends, strict=False):
            pen.ink(_flame(x, y + (1 - shrink) * 0.4 * size, size * shrink, bend), tone)
    for dx, dy in rng.uniform(-1.6, 1.6, (7, 2)).tolist():
        pen.ink(_flame(dx, dy - 1.2, 0.11, 0.2), tones[1])


def _water(pen: Pen, tones: Tones, rng: np.random.Generator) -> None:
    turn = float(rng.uniform(0, 60))
    for radius, width, tone in ((1.45, 0.5, tones[0]), (1.4, 0.32, tones[1]), (1.36, 0.1, tones[2])):
        for start in (turn, turn + 180):
            pen.line(_spiral(start, radius), width, tone)
    for dx, dy in rng.uniform(-1.8, 1.8, (9, 2)).tolist():
        pen.ink(ellipse(dx, dy - 0.3, 0.15, 0.19, 10), tones[0])
        pen.ink(ellipse(dx - 0.03, dy - 0.34, 0.08, 0.1, 8), tones[2])


def _spiral(start: float, radius: float) -> list[Point]:
    points = []
    for i in range(14):
        angle, reach = math.radians(start + i * 17), radius * (0.35 + 0.65 * i / 13)
        points.append((reach * math.cos(angle), reach * math.sin(angle) * 0.85 - 0.3))
    return points


def _lightning(pen: Pen, tones: Tones, rng: np.random.Generator) -> None:
    bolts = [_bolt(rng, turn) for turn in range(0, 360, 60)]
    for width, tone in ((0.3, tones[0]), (0.18, tones[1]), (0.08, tones[2])):
        for bolt in bolts:
            pen.line(bolt, width, tone)
    pen.ink(ellipse(0, -0.2, 0.42, 0.42), tones[1])
    pen.ink(ellipse(0, -0.2, 0.26, 0.26), tones[2])


def _bolt(rng: np.random.Generator, degrees: float) -> list[Point]:
    turns = rng.uniform(-28, 28, 5).tolist()
    points: list[Point] = [(0.0, -0.2)]
    for i, turn in enumerate(turns):
        angle, reach = math.radians(degrees + turn), 0.42 * (i + 1)
        points.append((reach * math.cos(angle), reach * math.sin(angle) - 0.2))
    return points


def _wind(pen: Pen, tones: Tones, rng: np.random.Generator) -> None:
    turn = float(rng.uniform(0, 90))
    for i, radius in enumerate((0.55, 0.95, 1.35, 1.75)):
        for start in (turn + i * 50, turn + i * 50 + 180):
            outer = arc(0, -0.3, radius, radius * 0.8, (start, start + 130), 12)
            inner = arc(0.06, -0.24, radius * 0.9, radius * 0.66, (start + 125, start + 5), 12)
            pen.ink(outer + inner, tones[0])
            pen.glaze(arc(0, -0.3, radius * 0.99, radius * 0.79, (start + 8, start + 120), 12) + inner, tones[2], 225)


def _earth(pen: Pen, tones: Tones, rng: np.random.Generator) -> None:
    rim = mix(tones[0], INK, 0.55)
    for i, (jx, jy) in enumerate(rng.uniform(-0.2, 0.2, (8, 2)).tolist()):
        angle, size = math.radians(i * 45 + 20), 0.42 + 0.2 * (i % 3)
        x, y = 1.2 * math.cos(angle) + jx, 1.15 * math.sin(angle) - 0.3 + jy
        block = [(x - size, y), (x - size * 0.5, y - size * 0.8), (x + size * 0.6, y - size * 0.7),
                 (x + size, y + 0.05), (x + size * 0.3, y + size * 0.7), (x - size * 0.6, y + size * 0.6)]  # fmt: skip
        pen.ink([(x + (px - x) * 1.22, y + (py - y) * 1.22) for px, py in block], rim)
        pen.ink(block, tones[1])
        pen.ink(block[:4], tones[2])
        pen.ink([*block[3:], (x, y + 0.08)], tones[0])


_DRAW = {"fire": _fire, "water": _water, "lightning": _lightning, "wind": _wind, "earth": _earth}

"""Skies: a gradient of the hour, sun or moon, stars and clouds. Coordinates of the frame: 0..1, y down."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from naruto_add.data.universe.canvas import Canvas, Pen, Point, ellipse, smooth
from naruto_add.data.universe.elements import glow
from naruto_add.data.universe.palette import CLOUD, SKY, STAR, WHITE, Colour, mix

HORIZON = 0.66


@lru_cache(maxsize=16)
def _gradient(side: int, time_of_day: str) -> Image.Image:
    """Top, middle and horizon colours of an hour, interpolated over the height of the sky."""
    stops = np.array(SKY[time_of_day], dtype=np.float64)
    height = np.minimum(np.arange(side) / (side * HORIZON), 1.0)
    column = np.stack([np.interp(height, (0.0, 0.6, 1.0), stops[:, c]) for c in range(3)], axis=-1)
    return Image.fromarray(column.round().astype(np.uint8)[:, None, :]).resize((side, side))


def draw_sky(canvas: Canvas, time_of_day: str, rng: np.random.Generator) -> None:
    """The whole background, before any place is drawn on it."""
    canvas.image.paste(_gradient(canvas.side, time_of_day))
    pen = Pen(canvas, (canvas.side, 0, 0, 0, canvas.side, 0))
    if time_of_day == "night":
        for x, y, r in rng.uniform(0, 1, (26, 3)).tolist():
            pen.ink(ellipse(x, y * 0.6, 0.003 + r * 0.005, 0.003 + r * 0.005, 6), WHITE)
    _draw_star(pen, time_of_day, rng)
    if time_of_day == "night":
        return
    for _ in range(int(rng.integers(2, 5))):
        x, y, size = rng.uniform((0, 0.06, 0.09), (1, 0.42, 0.2)).tolist()
        _draw_cloud(pen, x, y, size, CLOUD[time_of_day], SKY[time_of_day][1])


def _draw_star(pen: Pen, time_of_day: str, rng: np.random.Generator) -> None:
    """Sun or moon: large and low at dawn and sunset, high by day, with its glow."""
    side, colour = pen.canvas.side, STAR[time_of_day]
    left = rng.random() < 0.5
    x = float(rng.uniform(0.12, 0.3)) if left else float(rng.uniform(0.7, 0.88))
    low = time_of_day in ("dawn", "sunset")
    y, radius = (float(rng.uniform(0.34, 0.46)), 0.125) if low else (float(rng.uniform(0.12, 0.2)), 0.075)
    glow(pen.canvas, (x * side, y * side), radius * side * 4.2, colour, 0.75 if low else 0.5)
    pen.ink(ellipse(x, y, radius, radius, 36), colour)
    if time_of_day == "night":
        pen.ink(ellipse(x + 0.02, y - 0.015, 0.018, 0.018, 12), mix(colour, (170, 170, 150), 0.5))
        pen.ink(ellipse(x - 0.025, y + 0.02, 0.012, 0.012, 10), mix(colour, (170, 170, 150), 0.5))


_CLOUD = smooth(((-1.0, 0.2), (-0.95, -0.1), (-0.6, -0.15), (-0.4, -0.5), (0.0, -0.6), (0.3, -0.4), (0.55, -0.45),
                 (0.75, -0.1), (1.05, 0.0), (1.0, 0.2), (0.0, 0.25)))  # fmt: skip


def _draw_cloud(pen: Pen, x: float, y: float, size: float, colour: Colour, sky: Colour) -> None:
    def shape(lift: float, shrink: float) -> list[Point]:
        return [(x + px * size * shrink, y + (py - lift) * size * 0.62 * shrink) for px, py in _CLOUD]

    pen.ink(shape(0.0, 1.0), mix(colour, sky, 0.45))
    pen.ink(shape(0.12, 0.92), colour)

"""What is in the air: rain, petals, sparkles or lines of speed, drawn over everything."""

from __future__ import annotations

import numpy as np

from naruto_add.data.universe.canvas import Pen, ellipse
from naruto_add.data.universe.palette import WHITE
from naruto_add.data.universe.scene import Scene

AIR: dict[str, str] = {"sad": "rain", "calm": "petals", "joyful": "sparkles", "tense": "wind"}


def draw_weather(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    """The air of a mood, in half of the pictures; the pen's coordinates are those of the frame."""
    if rng.random() < 0.5:
        _DRAW[AIR[scene.mood]](pen, rng)


def _rain(pen: Pen, rng: np.random.Generator) -> None:
    for x, y, length in rng.uniform((-0.05, -0.1, 0.05), (1.1, 1, 0.12), (34, 3)).tolist():
        pen.veil_line([(x, y), (x - length * 0.3, y + length)], 0.006, (214, 230, 255), 150)


def _petals(pen: Pen, rng: np.random.Generator) -> None:
    for x, y, turn in rng.uniform((0, 0, 0), (1, 1, 360), (12, 3)).tolist():
        pen.child(x, y, turn).ink(ellipse(0, 0, 0.018, 0.009, 8), (255, 178, 200))


def _sparkles(pen: Pen, rng: np.random.Generator) -> None:
    for x, y, r in rng.uniform((0, 0, 0.012), (1, 0.9, 0.03), (9, 3)).tolist():
        star = [(x, y - r), (x + r * 0.22, y - r * 0.22), (x + r, y), (x + r * 0.22, y + r * 0.22), (x, y + r),
                (x - r * 0.22, y + r * 0.22), (x - r, y), (x - r * 0.22, y - r * 0.22)]  # fmt: skip
        pen.glaze(star, WHITE, 220)


def _wind(pen: Pen, rng: np.random.Generator) -> None:
    for x, y, length in rng.uniform((-0.2, 0, 0.15), (0.9, 1, 0.4), (11, 3)).tolist():
        pen.veil_line([(x, y), (x + length, y - length * 0.12)], 0.007, WHITE, 130)


_DRAW = {"rain": _rain, "petals": _petals, "sparkles": _sparkles, "wind": _wind}

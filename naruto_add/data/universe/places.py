"""Ten places, drawn from far to near in coordinates of the frame (0..1, y down); each leaves its middle calm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from naruto_add.data.universe.canvas import Pen, Point, arc, ellipse, smooth
from naruto_add.data.universe.palette import INK, WHITE, Colour, mix
from naruto_add.data.universe.sky import HORIZON

Rng = np.random.Generator
GROUND: dict[str, Colour] = {
    "mountain": (150, 132, 118), "forest": (74, 98, 54), "village": (206, 176, 130), "waterfall": (104, 128, 92),
    "desert": (236, 196, 122), "temple": (176, 166, 152), "beach": (244, 220, 166), "rooftops": (172, 84, 64),
    "meadow": (120, 190, 82), "snow": (236, 242, 250),
}  # fmt: skip


def _ridge(rng: Rng, base: float, height: float, peaks: int) -> list[Point]:
    """A broken line of peaks from left to right, closed at the bottom."""
    points: list[Point] = [(-0.05, 1.05), (-0.05, base)]
    for i, up in enumerate(rng.uniform(0.45, 1.0, peaks).tolist()):
        x = (i + 0.5) / peaks
        points += [(x, base - height * up), (x + 0.5 / peaks, base - height * 0.2 * up)]
    return [*points, (1.05, base), (1.05, 1.05)]


def _hills(rng: Rng, base: float, height: float, count: int) -> tuple[Point, ...]:
    points: list[Point] = [(-0.3, 1.3), (-0.2, base)]
    points += [((i + 0.5) / count, base - height * up) for i, up in enumerate(rng.uniform(-0.6, 1, count).tolist())]
    return smooth((*points, (1.2, base), (1.3, 1.3)))


def _ground(pen: Pen, rng: Rng, colour: Colour, top: float = 0.76) -> None:
    """The near ground, with a few tufts or pebbles."""
    left, right = rng.uniform(-0.02, 0.02, 2).tolist()
    pen.part([(-0.05, top + left), (0.5, top - 0.01), (1.05, top + right), (1.05, 1.05), (-0.05, 1.05)], colour)
    for x, y in rng.uniform((0, top + 0.04), (1, 1), (12, 2)).tolist():
        pen.ink(ellipse(x, y, 0.022, 0.007, 8), mix(colour, INK, 0.22))
    for x, y in rng.uniform((0, top + 0.02), (1, 1), (8, 2)).tolist():
        pen.ink(ellipse(x, y, 0.03, 0.006, 8), mix(colour, WHITE, 0.25))


def _mountain(pen: Pen, rng: Rng) -> None:
    pen.part(_ridge(rng, 0.68, 0.22, 5), (150, 170, 206))
    for x, top, wide, tone in ((0.1, 0.2, 0.32, (112, 122, 158)), (0.88, 0.14, 0.36, (98, 106, 140))):
        x, top = x + float(rng.uniform(-0.06, 0.06)), top + float(rng.uniform(-0.04, 0.06))
        pen.part([(x - wide, 0.8), (x - 0.12, top + 0.2), (x, top), (x + 0.1, top + 0.16), (x + wide, 0.8)], tone)
        pen.ink([(x, top), (x + 0.1, top + 0.16), (x + wide, 0.8), (x + 0.05, 0.8), (x + 0.04, top + 0.2)],
                mix(tone, INK, 0.25))  # fmt: skip
        pen.part([(x - 0.09, top + 0.15), (x, top), (x + 0.075, top + 0.12), (x + 0.04, top + 0.17),
                  (x + 0.01, top + 0.11), (x - 0.03, top + 0.19), (x - 0.05, top + 0.13)], (246, 250, 255))  # fmt: skip
    _ground(pen, rng, GROUND["mountain"], 0.78)
    for x in (0.06, 0.93):
        rock = [(x - 0.14, 0.9), (x - 0.08, 0.76), (x + 0.02, 0.7), (x + 0.1, 0.78), (x + 0.15, 0.92)]
        pen.part(rock, (122, 108, 100))


def _tree(pen: Pen, x: float, foot: float, size: float, leaf: Colour) -> None:
    trunk: Colour = (92, 64, 44)
    pen.part([(x - 0.05 * size, foot), (x - 0.03 * size, foot - 0.5 * size), (x + 0.03 * size, foot - 0.5 * size),
              (x + 0.06 * size, foot)], trunk)  # fmt: skip
    for dx, dy, r in ((-0.16, -0.5, 0.2), (0.17, -0.52, 0.2), (0.0, -0.72, 0.24)):
        pen.part(ellipse(x + dx * size, foot + dy * size, r * size, r * size * 0.9), leaf)
        pen.ink(ellipse(x + (dx - 0.05) * size, foot + (dy - 0.06) * size, r * size * 0.5, r * size * 0.36, 10),
                mix(leaf, (236, 246, 130), 0.3))  # fmt: skip


def _forest(pen: Pen, rng: Rng) -> None:
    pen.part(_hills(rng, 0.3, 0.08, 6), (62, 112, 84))
    for x in rng.uniform(0, 1, 7).tolist():
        pen.part([(x - 0.018, 0.8), (x - 0.014, -0.05), (x + 0.014, -0.05), (x + 0.018, 0.8)], (66, 84, 66))
    _ground(pen, rng, GROUND["forest"], 0.77)
    for x in (0.05, 0.24, 0.8, 0.97):
        x, w = x + float(rng.uniform(-0.04, 0.04)), float(rng.uniform(0.035, 0.055))
        pen.part([(x - w * 1.7, 0.88), (x - w, 0.7), (x - w * 0.9, -0.05), (x + w * 0.9, -0.05), (x + w, 0.7),
                  (x + w * 1.7, 0.88)], (88, 62, 44))  # fmt: skip
        pen.line([(x - w * 0.3, 0.1), (x - w * 0.2, 0.4)], 0.008, (62, 42, 32))
        pen.line([(x + w * 0.3, 0.35), (x + w * 0.25, 0.65)], 0.008, (62, 42, 32))
    for x, y, r in rng.uniform((0, -0.04, 0.09), (1, 0.12, 0.15), (9, 3)).tolist():
        pen.part(ellipse(x, y, r, r * 0.7), (50, 116, 58))
        pen.ink(ellipse(x - r * 0.2, y - r * 0.1, r * 0.5, r * 0.28, 10), (92, 160, 70))
    for x, size in ((0.03, 0.13), (0.98, 0.14)):
        pen.part(ellipse(x, 0.88, size, size * 0.6), (58, 124, 56))


def _house(pen: Pen, x: float, foot: float, size: float, roof: Colour) -> None:
    wall: Colour = (246, 230, 198)
    pen.part([(x - size, foot), (x - size, foot - size), (x + size, foot - size), (x + size, foot)], wall)
    pen.part([(x - size * 1.3, foot - size * 0.9), (x - size * 0.7, foot - size * 1.7),
              (x + size * 0.7, foot - size * 1.7),
              (x + size * 1.3, foot - size * 0.9)], roof)  # fmt: skip
    pen.part([(x - size * 0.24, foot), (x - size * 0.24, foot - size * 0.6), (x + size * 0.24, foot - size * 0.6),
              (x + size * 0.24, foot)], (122, 82, 54))  # fmt: skip
    for dx in (-0.65, 0.65):
        pen.ink([(x + (dx - 0.18) * size, foot - size * 0.8), (x + (dx + 0.18) * size, foot - size * 0.8),
                 (x + (dx + 0.18) * size, foot - size * 0.45), (x + (dx - 0.18) * size, foot - size * 0.45)],
                (255, 226, 120))  # fmt: skip
    for share in (0.35, 0.65):
        reach, y = size * (1.3 - 0.6 * share), foot - size * (0.9 + 0.8 * share)
        pen.line([(x - reach, y), (x + reach, y)], 0.006, mix(roof, INK, 0.35))


def _village(pen: Pen, rng: Rng) -> None:
    roofs: tuple[Colour, ...] = ((206, 84, 58), (70, 120, 160), (96, 140, 86), (210, 140, 60))
    pen.part(_hills(rng, 0.56, 0.08, 4), (126, 176, 120))
    for i, x in enumerate((0.3, 0.7, 0.5)):
        _house(pen, x + float(rng.uniform(-0.05, 0.05)), 0.72, 0.08, roofs[int(rng.integers(4)) - i])
    _ground(pen, rng, GROUND["village"])
    for x in (0.08, 0.92):
        _house(pen, x, 0.84, float(rng.uniform(0.14, 0.19)), roofs[int(rng.integers(4))])


def _waterfall(pen: Pen, rng: Rng) -> None:
    x = float(rng.choice((0.24, 0.76)))
    rock: Colour = (112, 110, 116)
    pen.part([(-0.05, 0.85), (-0.05, 0.1), (0.2, 0.16), (0.4, 0.08), (0.7, 0.15), (1.05, 0.06), (1.05, 0.85)], rock)
    for x0, y0 in rng.uniform((0, 0.2), (1, 0.7), (12, 2)).tolist():
        pen.line([(x0, y0), (x0 + 0.03, y0 + 0.08), (x0, y0 + 0.13)], 0.008, mix(rock, INK, 0.35))
    moss = [(-0.05, 0.2), (-0.05, 0.02), (0.5, 0.04), (1.05, 0.0), (1.05, 0.17), (0.6, 0.13), (0.3, 0.2)]
    pen.part(moss, (76, 138, 74))
    pen.part([(x - 0.16, 0.1), (x + 0.16, 0.1), (x + 0.2, 0.8), (x - 0.2, 0.8)], (112, 186, 236))
    for dx in (-0.12, -0.06, 0.0, 0.05, 0.11):
        pen.line([(x + dx, 0.11), (x + dx * 1.25, 0.76)], 0.018, (236, 248, 255))
    pen.part([(-0.05, 0.74), (1.05, 0.74), (1.05, 1.05), (-0.05, 1.05)], (66, 150, 206))
    for dx in (-0.2, -0.1, 0.0, 0.1, 0.2):
        pen.ink(ellipse(x + dx, 0.76, 0.08, 0.05, 12), (244, 250, 255))
    for px, py in rng.uniform((0, 0.8), (1, 1), (9, 2)).tolist():
        pen.line([(px - 0.06, py), (px + 0.06, py)], 0.008, (190, 226, 246))
    pen.part(ellipse(0.5, 0.99, 0.46, 0.11), GROUND["waterfall"])


def _desert(pen: Pen, rng: Rng) -> None:
    pen.part(_hills(rng, 0.62, 0.06, 3), (226, 178, 110))
    pen.part([(0.62, 0.64), (0.66, 0.46), (0.8, 0.44), (0.84, 0.5), (0.95, 0.48), (1.02, 0.66)], (190, 116, 76))
    top = HORIZON + 0.02
    pen.part([(-0.05, top + 0.02), (0.3, top - 0.06), (0.62, top + 0.04), (1.05, top - 0.02), (1.05, 1.05),
              (-0.05, 1.05)], (240, 202, 130))  # fmt: skip
    pen.part([(0.3, top - 0.06), (0.62, top + 0.04), (0.44, 0.86), (0.36, 0.78)], (214, 164, 98))
    _ground(pen, rng, GROUND["desert"], 0.8)
    for x in (0.1, 0.9):
        _cactus(pen, x + float(rng.uniform(-0.04, 0.04)), 0.86, float(rng.uniform(0.8, 1.1)))


def _cactus(pen: Pen, x: float, y: float, size: float) -> None:
    green: Colour = (74, 140, 84)
    pen.limb((x, y), (x, y - 0.3 * size), (0.036, 0.034), green)
    for side, height in ((-1, 0.12), (1, 0.18)):
        elbow = (x + side * 0.085 * size, y - height * size)
        pen.limb((x, y - height * size), elbow, (0.022, 0.022), green, joined=True)
        pen.limb(elbow, (elbow[0], elbow[1] - 0.09 * size), (0.022, 0.02), green, joined=True)
    pen.line([(x - 0.01, y - 0.02), (x - 0.01, y - 0.28 * size)], 0.007, mix(green, WHITE, 0.4))


def _temple(pen: Pen, rng: Rng) -> None:
    pen.part(_hills(rng, 0.54, 0.1, 4), (110, 156, 116))
    x = 0.2 if rng.random() < 0.5 else 0.8
    for level, wide in ((0, 0.19), (1, 0.15), (2, 0.11)):
        y = 0.74 - level * 0.16
        pen.part([(x - wide * 0.7, y), (x - wide * 0.7, y - 0.12), (x + wide * 0.7, y - 0.12), (x + wide * 0.7, y)],
                 (238, 222, 190))  # fmt: skip
        pen.part([(x - wide * 1.25, y - 0.12), (x - wide * 0.8, y - 0.15), (x, y - 0.2), (x + wide * 0.8, y - 0.15),
                  (x + wide * 1.25, y - 0.12), (x + wide * 0.8, y - 0.1), (x - wide * 0.8, y - 0.1)],
                 (76, 74, 96))  # fmt: skip
        pen.ink([(x - 0.02, y), (x - 0.02, y - 0.08), (x + 0.02, y - 0.08), (x + 0.02, y)], (120, 50, 44))
    _ground(pen, rng, GROUND["temple"])
    _gate(pen, 1 - x, 0.84)


def _gate(pen: Pen, x: float, foot: float) -> None:
    red: Colour = (214, 52, 40)
    for dx in (-0.17, 0.17):
        pen.part([(x + dx - 0.025, foot), (x + dx - 0.02, 0.3), (x + dx + 0.02, 0.3), (x + dx + 0.025, foot)], red)
    pen.part([(x - 0.22, 0.4), (x + 0.22, 0.4), (x + 0.22, 0.435), (x - 0.22, 0.435)], red)
    pen.part([(x - 0.3, 0.24), (x - 0.1, 0.27), (x + 0.1, 0.27), (x + 0.3, 0.24), (x + 0.27, 0.31), (x - 0.27, 0.31)],
             (70, 34, 40))  # fmt: skip
    pen.part([(x - 0.26, 0.31), (x + 0.26, 0.31), (x + 0.25, 0.345), (x - 0.25, 0.345)], red)


def _beach(pen: Pen, rng: Rng) -> None:
    pen.part([(-0.05, 0.54), (1.05, 0.54), (1.05, 1.05), (-0.05, 1.05)], (36, 142, 204))
    for px, py in rng.uniform((0, 0.57), (1, 0.74), (12, 2)).tolist():
        pen.line([(px - 0.05, py), (px + 0.05, py)], 0.008, (150, 214, 240))
    wave = [(i / 8, 0.76 + (0.012 if i % 2 else -0.012)) for i in range(-1, 10)]
    pen.part([*wave, (1.1, 1.05), (-0.1, 1.05)], (246, 250, 252))
    pen.part([*[(x, y + 0.035) for x, y in wave], (1.1, 1.05), (-0.1, 1.05)], GROUND["beach"])
    x, lean = (0.06, 1) if rng.random() < 0.5 else (0.94, -1)
    trunk = [(x, 0.9), (x + lean * 0.02, 0.5), (x + lean * 0.08, 0.2)]
    pen.line(trunk, 0.05, INK)
    pen.line(trunk, 0.036, (150, 106, 66))
    for degrees in (150, 195, 240, 290, 335, 20):
        leaf = pen.child(trunk[2][0], trunk[2][1], degrees)
        leaf.part(smooth(((0, 0), (0.1, -0.05), (0.24, 0.02), (0.1, 0.01))), (54, 146, 72))


def _rooftops(pen: Pen, rng: Rng) -> None:
    for x, top, tone in zip(
        (-0.02, 0.14, 0.3, 0.46, 0.62, 0.78, 0.93), rng.uniform(0.16, 0.5, 7).tolist(),
        ((116, 130, 162), (146, 134, 158), (96, 112, 150)) * 3, strict=False,
    ):  # fmt: skip
        pen.part([(x - 0.02, 0.9), (x - 0.02, top), (x + 0.14, top), (x + 0.14, 0.9)], tone)
        _windows(pen, x, top, rng)
    roof = GROUND["rooftops"]
    pen.part([(-0.05, 0.8), (1.05, 0.76), (1.05, 1.05), (-0.05, 1.05)], roof)
    for y in (0.84, 0.9, 0.96):
        pen.line([(-0.05, y), (1.05, y - 0.04)], 0.01, mix(roof, INK, 0.4))
    for i in range(10):
        pen.line([(i / 9, 0.8 - i * 0.004), (i / 9 + (i - 4.5) * 0.02, 1.0)], 0.008, mix(roof, INK, 0.3))
    pen.part([(-0.05, 0.775), (1.05, 0.735), (1.05, 0.775), (-0.05, 0.815)], mix(roof, WHITE, 0.2))


def _windows(pen: Pen, x: float, top: float, rng: Rng) -> None:
    lit = rng.random((5, 3)) < 0.55
    bright = Pen(pen.canvas, pen.matrix)
    for row in range(5):
        for column in range(3):
            wx, wy = x + 0.006 + column * 0.045, top + 0.04 + row * 0.08
            tone, brush = ((255, 222, 110), bright) if lit[row, column] else ((74, 84, 112), pen)
            brush.ink([(wx, wy), (wx + 0.026, wy), (wx + 0.026, wy + 0.045), (wx, wy + 0.045)], tone)


def _meadow(pen: Pen, rng: Rng) -> None:
    pen.part(_hills(rng, 0.56, 0.09, 3), (150, 206, 130))
    pen.part(_hills(rng, 0.66, 0.06, 4), (126, 196, 98))
    for x in (0.1, 0.9):
        _tree(pen, x + float(rng.uniform(-0.05, 0.05)), 0.76, float(rng.uniform(0.45, 0.62)), (70, 148, 70))
    _ground(pen, rng, GROUND["meadow"])
    petals: tuple[Colour, ...] = ((255, 255, 255), (255, 214, 70), (250, 130, 160))
    for i, (x, y) in enumerate(rng.uniform((0, 0.8), (1, 1), (16, 2)).tolist()):
        pen.line([(x, y), (x, y + 0.03)], 0.006, (60, 128, 54))
        pen.ink(ellipse(x, y, 0.015, 0.013, 8), petals[i % 3])


def _snow(pen: Pen, rng: Rng) -> None:
    pen.part(_ridge(rng, 0.64, 0.18, 4), (196, 212, 236))
    pen.part(_hills(rng, 0.68, 0.05, 3), (222, 232, 246))
    for x, size in ((0.07, 1.0), (0.24, 0.7), (0.79, 0.75), (0.94, 1.05)):
        _fir(pen, x + float(rng.uniform(-0.03, 0.03)), 0.82, size)
    _ground(pen, rng, GROUND["snow"], 0.79)
    for x, y, r in rng.uniform((0, 0, 0.006), (1, 0.95, 0.012), (26, 3)).tolist():
        pen.ink(ellipse(x, y, r, r, 8), WHITE)


def _fir(pen: Pen, x: float, foot: float, size: float) -> None:
    for level in range(3):
        y, w = foot - level * 0.15 * size, (0.13 - level * 0.03) * size
        pen.part([(x - w, y), (x, y - 0.26 * size), (x + w, y)], (58, 110, 98))
        pen.ink([(x - w * 0.62, y - 0.1 * size), (x, y - 0.26 * size), (x + w * 0.62, y - 0.1 * size),
                 (x + w * 0.2, y - 0.12 * size), (x - w * 0.1, y - 0.08 * size)], (244, 248, 255))  # fmt: skip


def draw_seat(pen: Pen, colour: Colour) -> None:
    """A rock to sit on, in the coordinates of a person."""
    pen.part(smooth(((-1.3, 4.6), (-1.1, 3.5), (-0.4, 3.15), (0.5, 3.15), (1.15, 3.5), (1.35, 4.6), (0, 4.75))), colour)
    pen.line(arc(0.1, 4.0, 0.8, 0.5, (200, 300)), 0.06, mix(colour, INK, 0.4))


PLACES: dict[str, Callable[[Pen, Rng], None]] = {
    "mountain": _mountain,
    "forest": _forest,
    "village": _village,
    "waterfall": _waterfall,
    "desert": _desert,
    "temple": _temple,
    "beach": _beach,
    "rooftops": _rooftops,
    "meadow": _meadow,
    "snow": _snow,
}

"""Faces: skin, eyes by mood, marks, mask. Coordinates of the head: centre (0, 0), half width about 0.9, y down."""

from __future__ import annotations

from typing import NamedTuple

from naruto_add.data.universe.canvas import Pen, Point, arc, ellipse, mirrored, smooth
from naruto_add.data.universe.palette import INK, WHITE, Colour, mix

FACE = smooth(((-0.9, -0.3), (-0.88, 0.2), (-0.66, 0.68), (0.0, 1.08), (0.66, 0.68), (0.88, 0.2), (0.9, -0.3),
               (0.6, -0.9), (0.0, -1.1), (-0.6, -0.9)))  # fmt: skip
EAR = smooth(((-0.82, 0.0), (-1.0, -0.05), (-1.06, 0.2), (-0.95, 0.42), (-0.82, 0.38)))
MASK = smooth(((-0.93, 0.22), (0.0, 0.4), (0.93, 0.22), (0.86, 0.62), (0.5, 1.0), (0.0, 1.16), (-0.5, 1.0),
               (-0.86, 0.62)))  # fmt: skip
BEARD = ((-0.86, 0.25), (-0.6, 0.52), (0.0, 0.45), (0.6, 0.52), (0.86, 0.25), (0.8, 0.9), (0.45, 1.5), (0.12, 1.5),
         (0.0, 2.0), (-0.16, 1.5), (-0.48, 1.5), (-0.8, 0.9))  # fmt: skip
EYE_X, EYE_Y = 0.42, 0.2
BLUSH: Colour = (250, 150, 140)
LIP: Colour = (150, 54, 58)


class Expression(NamedTuple):
    """How a mood looks: eyelid opening (1 = wide), brow height at its inner and outer end, mouth."""

    opening: float
    brow_inner: float
    brow_outer: float
    mouth: str


MOOD_FACE: dict[str, Expression] = {
    "calm": Expression(0.92, -0.26, -0.28, "line"),
    "joyful": Expression(1.0, -0.36, -0.34, "laugh"),
    "tense": Expression(0.78, -0.12, -0.4, "grit"),
    "sad": Expression(0.78, -0.42, -0.22, "frown"),
}


class FaceLook(NamedTuple):
    """Everything about a face that its drawing needs."""

    skin: Colour
    eyes: Colour
    hair: Colour
    mood: str
    marks: str
    mask: Colour | None
    eyelids: str
    extra: str


def draw_face(pen: Pen, look: FaceLook) -> None:
    """The bare head, then its features, marks and mask."""
    for ear in (EAR, mirrored(EAR)):
        pen.part(ear, look.skin)
    pen.part(FACE, look.skin)
    for side in (-1, 1):
        _draw_eye(pen, look, side)
    _draw_mouth(pen, look)
    if look.marks in _MARKS:
        _MARKS[look.marks](pen, look)
    if look.mask is not None:
        pen.part(MASK, look.mask)
        pen.line([(-0.5, 0.48), (0.0, 0.6), (0.5, 0.48)], 0.05, mix(look.mask, INK, 0.4))


def _draw_eye(pen: Pen, look: FaceLook, side: int) -> None:
    mood = MOOD_FACE[look.mood]
    _draw_brow(pen, look, side, mood)
    if look.eyelids == "closed":
        pen.line(arc(side * EYE_X, EYE_Y - 0.02, 0.27, 0.16, (10, 170)), 0.1, INK)
        return
    if look.eyelids == "laughing":
        pen.line(arc(side * EYE_X, EYE_Y + 0.12, 0.25, 0.26, (195, 345)), 0.11, INK)
        return
    _draw_open_eye(pen, look, side * EYE_X, 0.33 * mood.opening)
    if look.extra == "one eye" and side > 0:
        pen.line([(EYE_X, -0.2), (EYE_X + 0.04, 0.62)], 0.07, LIP)


def _draw_open_eye(pen: Pen, look: FaceLook, x: float, height: float) -> None:
    y = EYE_Y
    if look.extra == "gourd":
        pen.ink(ellipse(x, y, 0.37, height + 0.12), INK)
    pen.ink(ellipse(x, y, 0.28, height), WHITE)
    pen.ink(ellipse(x, y + 0.03, 0.2, height * 0.92), mix(look.eyes, INK, 0.45))
    pen.ink(ellipse(x, y + 0.1, 0.165, height * 0.62), look.eyes)
    if look.extra != "pale eyes":
        pen.ink(ellipse(x, y + 0.02, 0.085, height * 0.42, 10), INK)
    pen.ink(ellipse(x - 0.08, y - height * 0.42, 0.085, 0.1, 8), WHITE)
    pen.ink(ellipse(x + 0.08, y + height * 0.5, 0.045, 0.05, 6), WHITE)
    lid = arc(x, y, 0.32, height + 0.06, (195, 345)) + arc(x, y + 0.02, 0.29, height - 0.08, (345, 195))
    pen.ink(lid, INK)


def _draw_brow(pen: Pen, look: FaceLook, side: int, mood: Expression) -> None:
    width = 0.2 if look.extra == "thick brows" else 0.075
    colour = mix(look.hair, INK, 0.45)
    pen.line([(side * 0.18, mood.brow_inner), (side * 0.45, (mood.brow_inner + mood.brow_outer) / 2 - 0.05),
              (side * 0.7, mood.brow_outer)], width, colour)  # fmt: skip


def _draw_mouth(pen: Pen, look: FaceLook) -> None:
    pen.line([(0.02, 0.42), (-0.05, 0.5)], 0.045, mix(look.skin, LIP, 0.6))
    mouth = MOOD_FACE[look.mood].mouth
    if mouth == "laugh":
        pen.ink([*arc(0, 0.6, 0.26, 0.3, (0, 180))], LIP)
        pen.ink([(-0.22, 0.6), (0.22, 0.6), (0.19, 0.68), (-0.19, 0.68)], WHITE)
        for side in (-1, 1):
            pen.ink(ellipse(side * 0.62, 0.5, 0.15, 0.09, 10), mix(look.skin, BLUSH, 0.6))
    elif mouth == "grit":
        pen.ink([(-0.22, 0.64), (0.22, 0.6), (0.2, 0.78), (-0.18, 0.78)], INK)
        pen.ink([(-0.18, 0.67), (0.18, 0.64), (0.16, 0.74), (-0.15, 0.74)], WHITE)
    elif mouth == "frown":
        pen.line(arc(0, 0.84, 0.18, 0.14, (205, 335)), 0.07, LIP)
        pen.ink(ellipse(-0.52, 0.66, 0.06, 0.12, 8), (150, 210, 255))
    else:
        pen.line(arc(0, 0.62, 0.17, 0.1, (25, 155)), 0.06, LIP)


def _whiskers(pen: Pen, look: FaceLook) -> None:
    colour = mix(look.skin, INK, 0.75)
    for side in (-1, 1):
        for row in (-0.15, 0.0, 0.15):
            pen.line([(side * 0.82, 0.5 + row * 1.2), (side * 0.5, 0.56 + row * 0.8)], 0.07, colour)


def _scar(pen: Pen, look: FaceLook) -> None:
    pen.line([(0.72, -0.3), (0.5, 0.2), (0.36, 0.72)], 0.1, (190, 56, 60))
    for x, y in ((0.62, -0.05), (0.44, 0.48)):
        pen.line([(x - 0.14, y - 0.05), (x + 0.14, y + 0.05)], 0.06, (190, 56, 60))


def _forehead_mark(pen: Pen, look: FaceLook) -> None:
    x, y, red = 0.0, -0.5, (212, 20, 40)
    pen.line([(x, y - 0.22), (x, y + 0.2)], 0.1, red)
    pen.line([(x - 0.22, y - 0.1), (x + 0.22, y - 0.1)], 0.09, red)
    pen.line([(x - 0.2, y + 0.14), (x, y - 0.08), (x + 0.2, y + 0.14)], 0.08, red)


def _eye_lines(pen: Pen, look: FaceLook) -> None:
    for side in (-1, 1):
        pen.line([(side * 0.2, 0.34), (side * 0.34, 0.62), (side * 0.4, 0.84)], 0.085, mix(look.skin, INK, 0.75))


def _freckles(pen: Pen, look: FaceLook) -> None:
    spots: tuple[Point, ...] = ((0.42, 0.56), (0.56, 0.62), (0.68, 0.54), (0.54, 0.74), (0.28, 0.6))
    for x, y in (*spots, *mirrored(spots), (0.08, 0.5)):
        pen.ink(ellipse(x, y, 0.05, 0.05, 6), mix(look.skin, (150, 70, 30), 0.75))


def _beard(pen: Pen, look: FaceLook) -> None:
    pen.part(BEARD, look.hair)
    pen.ink(ellipse(0, 0.68, 0.2, 0.08, 10), LIP)
    for x in (-0.4, -0.14, 0.2, 0.46):
        pen.line([(x, 0.85), (x * 0.8, 1.35)], 0.05, mix(look.hair, INK, 0.35))


def _eyepatch(pen: Pen, look: FaceLook) -> None:
    pen.line([(-0.9, -0.25), (0.9, 0.02)], 0.07, INK)
    pen.part(smooth(((0.1, -0.12), (0.78, -0.06), (0.72, 0.4), (0.44, 0.56), (0.14, 0.36))), INK)


_MARKS = {
    "whiskers": _whiskers,
    "scar": _scar,
    "forehead mark": _forehead_mark,
    "eye lines": _eye_lines,
    "freckles": _freckles,
    "beard": _beard,
    "eyepatch": _eyepatch,
}

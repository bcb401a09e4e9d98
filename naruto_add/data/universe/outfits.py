"""Clothes as data (what covers torso, arms, legs) and the drawing of each outfit's own details on the torso."""

from __future__ import annotations

from typing import NamedTuple

from naruto_add.data.universe.canvas import Pen, Point, arc, ellipse, mirrored, smooth
from naruto_add.data.universe.palette import GOLD, INK, LEATHER, METAL, NAVY, WHITE, Colour, mix
from naruto_add.data.universe.poses import HIP, Pose

TORSO = smooth(((-0.26, 1.1), (-0.62, 1.32), (-0.9, 1.52), (-0.74, 2.1), (-0.58, 2.65), (-0.68, 3.2), (0.0, 3.35),
                (0.68, 3.2), (0.58, 2.65), (0.74, 2.1), (0.9, 1.52), (0.62, 1.32), (0.26, 1.1)))  # fmt: skip


class Cut(NamedTuple):
    """How an outfit is cut: colours as rules, sleeve width at the hand, and how far a skirt reaches (0 = none, 1)."""

    sleeves: str
    legs: str
    boots: str
    sleeve_width: float
    skirt: float


CUTS: dict[str, Cut] = {
    "tunic": Cut("pale", "leather", "dark leather", 0.2, 0.35),
    "robe": Cut("own", "dark", "dark leather", 0.4, 0.95),
    "armour": Cut("dark", "dark", "own", 0.22, 0.3),
    "striped shirt": Cut("stripes", "navy", "dark leather", 0.21, 0.0),
    "dress": Cut("skin", "skin", "own", 0.19, 0.62),
    "jumpsuit": Cut("own", "own", "ink", 0.23, 0.0),
    "cloud cloak": Cut("own", "dark", "ink", 0.44, 0.9),
    "flak vest": Cut("navy", "navy", "ink", 0.23, 0.0),
    "kimono": Cut("own", "dark", "white", 0.48, 0.5),
}


def cloth(rule: str, own: Colour, skin: Colour) -> Colour:
    """The colour a rule of a cut stands for."""
    return {
        "own": own,
        "pale": mix(own, WHITE, 0.62),
        "dark": mix(own, INK, 0.62),
        "stripes": own,
        "skin": skin,
        "navy": NAVY,
        "leather": LEATHER,
        "dark leather": mix(LEATHER, INK, 0.5),
        "ink": INK,
        "white": (236, 234, 228),
    }[rule]


def draw_torso(pen: Pen, outfit: str, own: Colour, pose: Pose) -> None:
    """Torso, skirt, and what makes the outfit known."""
    skirt = CUTS[outfit].skirt
    pen.part(TORSO, own)
    if skirt:
        pen.part(_skirt(pose, skirt), own)
        pen.part([(-0.62, 2.5), (0.62, 2.5), (0.66, 2.85), (-0.66, 2.85)], own)
    _DETAILS[outfit](pen, own, pose)


def _skirt(pose: Pose, length: float) -> list[Point]:
    """A skirt that follows the legs, from the waist to `length` of the way to the feet."""
    left = min(pose.knees[0][0], pose.feet[0][0] * length, pose.knees[1][0]) - 0.42
    right = max(pose.knees[1][0], pose.feet[1][0] * length, pose.knees[0][0]) + 0.42
    feet = max(foot[1] for foot in pose.feet)
    hem = HIP[0][1] + (feet - HIP[0][1]) * length + 0.1
    middle = (left + right) / 2
    return [(-0.58, 2.62), (0.58, 2.62), (0.8, 3.2), (right, hem - 0.15), ((right + middle) / 2, hem + 0.05),
            (middle, hem - 0.12), ((left + middle) / 2, hem + 0.06), (left, hem - 0.15), (-0.8, 3.2)]  # fmt: skip


def _belt(pen: Pen, colour: Colour, buckle: Colour) -> None:
    pen.part([(-0.62, 2.55), (0.62, 2.55), (0.66, 2.82), (-0.66, 2.82)], colour)
    pen.ink([(-0.15, 2.52), (0.15, 2.52), (0.15, 2.86), (-0.15, 2.86)], buckle)


def _v_neck(pen: Pen, depth: float, colour: Colour) -> None:
    pen.line([(-0.42, 1.2), (0.06, depth), (0.42, 1.2)], 0.14, colour)


def _tunic(pen: Pen, own: Colour, pose: Pose) -> None:
    _v_neck(pen, 1.75, mix(own, WHITE, 0.6))
    _belt(pen, LEATHER, GOLD)
    pen.line([(-0.62, 3.3), (0.62, 3.3)], 0.07, mix(own, WHITE, 0.4))


def _robe(pen: Pen, own: Colour, pose: Pose) -> None:
    trim = mix(own, GOLD, 0.65) if sum(own) < 560 else mix(own, INK, 0.55)
    pen.line([(-0.4, 1.2), (0.05, 2.6)], 0.16, trim)
    pen.line([(0.4, 1.2), (-0.02, 1.95)], 0.16, trim)
    _belt(pen, trim, trim)
    pen.line([(0.05, 2.85), (0.08, 3.6)], 0.16, trim)


def _armour(pen: Pen, own: Colour, pose: Pose) -> None:
    edge, light = mix(own, INK, 0.5), mix(own, WHITE, 0.45)
    breast = ((-0.7, 1.45), (0, 1.32), (0.7, 1.45), (0.66, 2.1), (0, 2.42), (-0.66, 2.1))
    pen.part(smooth(breast), mix(own, WHITE, 0.12))
    pen.ink([(-0.5, 1.55), (-0.25, 1.5), (-0.3, 2.0), (-0.48, 1.95)], light)
    pen.line([(0, 1.4), (0, 2.35)], 0.06, edge)
    for y in (2.5, 2.75, 3.0):
        pen.line([(-0.6, y - 0.1), (0, y), (0.6, y - 0.1)], 0.06, edge)
    for x in (-0.58, 0.0, 0.58):
        pen.part([(x - 0.27, 2.95), (x + 0.27, 2.95), (x * 1.2 + 0.26, 3.6), (x * 1.2 - 0.26, 3.6)], own)
    _belt(pen, LEATHER, GOLD)


def _pauldrons(pen: Pen, own: Colour) -> None:
    for side in (-1, 1):
        pen.part(ellipse(side * 0.92, 1.5, 0.44, 0.36), mix(own, WHITE, 0.1))
        pen.line(arc(side * 0.92, 1.62, 0.38, 0.28, (20, 160)), 0.07, mix(own, INK, 0.5))
        pen.ink(ellipse(side * 0.92 - 0.12, 1.36, 0.14, 0.08, 8), mix(own, WHITE, 0.6))


def _striped_shirt(pen: Pen, own: Colour, pose: Pose) -> None:
    for y in (1.55, 1.95, 2.35):
        w = 0.8 - (y - 1.5) * 0.2
        pen.ink([(-w, y - 0.08), (0, y), (w, y - 0.08), (w - 0.02, y + 0.1), (0, y + 0.2), (-w + 0.02, y + 0.1)], WHITE)
    _belt(pen, LEATHER, GOLD)


def _dress(pen: Pen, own: Colour, pose: Pose) -> None:
    pale = mix(own, WHITE, 0.65)
    pen.ink(smooth(((-0.5, 1.2), (0, 1.72), (0.5, 1.2), (0.3, 1.1), (-0.3, 1.1))), pale)
    _belt(pen, pale, own)
    pen.line([(-0.1, 2.9), (-0.25, 3.9)], 0.06, mix(own, INK, 0.35))
    pen.line([(0.2, 2.9), (0.4, 3.8)], 0.06, mix(own, INK, 0.35))


def _jumpsuit(pen: Pen, own: Colour, pose: Pose) -> None:
    yoke = mix(INK, NAVY, 0.4)
    pen.part([(-0.9, 1.48), (-0.3, 1.12), (0.3, 1.12), (0.9, 1.48), (0.82, 1.86), (0, 1.66), (-0.82, 1.86)], yoke)
    pen.part(smooth(((-0.5, 1.28), (-0.44, 0.98), (0, 1.12), (0.44, 0.98), (0.5, 1.28), (0, 1.5))), (242, 240, 236))
    pen.line([(0, 1.4), (0, 3.25)], 0.075, (242, 240, 236))
    pen.line([(-0.6, 2.95), (0.6, 2.95)], 0.16, yoke)


def _cloud_cloak(pen: Pen, own: Colour, pose: Pose) -> None:
    lining: Colour = (150, 30, 40)
    hem = max(foot[1] for foot in pose.feet)
    spots = [(-0.4, 2.15, 0.3), (0.46, 2.6, 0.28)]
    if hem > 4.2:
        spots += [(-0.42, 3.5, 0.36), (0.45, 4.0, 0.34)]
    for x, y, r in spots:
        pen.ink(_cloud(x, y, r * 1.3), WHITE)
        pen.ink(_cloud(x, y, r), (214, 30, 40))
    pen.line([(0.05, 1.3), (0.05, hem - 0.6)], 0.07, mix(own, lining, 0.7))
    pen.part([(-0.62, 1.45), (-0.78, 0.72), (-0.15, 1.3), (0.0, 1.6), (0.15, 1.3), (0.78, 0.72), (0.62, 1.45),
              (0, 1.9)], mix(own, lining, 0.25))  # fmt: skip


def _cloud(x: float, y: float, r: float) -> tuple[Point, ...]:
    outline = ((-1.1, 0.2), (-0.8, -0.35), (-0.3, -0.3), (0.1, -0.75), (0.6, -0.5), (0.7, -0.1), (1.2, 0.1), (0.8, 0.5),
               (0.0, 0.4), (-0.6, 0.55))  # fmt: skip
    return tuple((x + r * px, y + r * py) for px, py in smooth(outline))


def _flak_vest(pen: Pen, own: Colour, pose: Pose) -> None:
    edge = mix(own, INK, 0.45)
    pen.ink([(-0.7, 2.9), (0.7, 2.9), (0.68, 3.3), (-0.68, 3.3)], NAVY)
    pen.part([(-0.6, 1.4), (-0.5, 0.98), (0, 1.15), (0.5, 0.98), (0.6, 1.4), (0, 1.62)], mix(own, WHITE, 0.12))
    pen.line([(0, 1.5), (0, 2.9)], 0.07, edge)
    for x in (-0.42, 0.42):
        pen.part([(x - 0.24, 1.75), (x + 0.24, 1.75), (x + 0.22, 2.2), (x - 0.22, 2.2)], mix(own, WHITE, 0.2))
        pen.part([(x - 0.22, 2.3), (x + 0.22, 2.3), (x + 0.2, 2.7), (x - 0.2, 2.7)], mix(own, WHITE, 0.2))
    pen.line([(-0.62, 2.88), (0.62, 2.88)], 0.1, edge)


def _kimono(pen: Pen, own: Colour, pose: Pose) -> None:
    obi = mix(own, INK, 0.6) if sum(own) > 330 else mix(own, WHITE, 0.6)
    pen.ink([(-0.34, 1.12), (0.34, 1.12), (0.04, 1.8)], (236, 234, 228))
    pen.line([(0.42, 1.16), (-0.35, 2.5)], 0.13, mix(own, WHITE, 0.75))
    pen.line([(-0.42, 1.16), (-0.03, 1.78)], 0.13, mix(own, WHITE, 0.75))
    pen.part([(-0.63, 2.42), (0.63, 2.42), (0.68, 2.92), (-0.68, 2.92)], obi)
    pen.line([(-0.62, 2.67), (0.62, 2.67)], 0.06, mix(obi, GOLD, 0.6))
    pen.line([(0.02, 2.95), (0.1, 4.0)], 0.07, mix(own, INK, 0.45))


_DETAILS = {
    "tunic": _tunic,
    "robe": _robe,
    "armour": _armour,
    "striped shirt": _striped_shirt,
    "dress": _dress,
    "jumpsuit": _jumpsuit,
    "cloud cloak": _cloud_cloak,
    "flak vest": _flak_vest,
    "kimono": _kimono,
}


def draw_over_shoulders(pen: Pen, outfit: str, own: Colour, drape: str, drape_colour: Colour) -> None:
    """What lies over the arms: the plates of an armour, a scarf, the clasp of a cape."""
    if outfit == "armour":
        _pauldrons(pen, own)
    if drape == "scarf":
        pen.part(smooth(((-0.75, 1.2), (0, 1.0), (0.75, 1.2), (0.72, 1.6), (0, 1.78), (-0.72, 1.6))), drape_colour)
        pen.line([(-0.6, 1.4), (0, 1.55), (0.6, 1.36)], 0.06, mix(drape_colour, INK, 0.4))
        pen.part([(0.3, 1.5), (0.72, 1.5), (0.8, 2.6), (0.4, 2.7)], drape_colour)
    elif drape == "cape":
        pen.part([(-0.8, 1.3), (0, 1.5), (0.8, 1.3), (0.7, 1.62), (0, 1.74), (-0.7, 1.62)], drape_colour)
        pen.ink(ellipse(0, 1.6, 0.14, 0.14, 10), GOLD)


def draw_behind(pen: Pen, drape: str, colour: Colour, extra: str, wind: float) -> None:
    """What hangs behind a person: a cape in the wind (units sideways), the ends of a scarf, a gourd of sand."""
    if drape == "cape":
        pen.part([(-0.7, 1.3), (0.7, 1.3), (1.15 + wind * 0.3, 3.0), (1.2 + wind, 4.9), (0.55 + wind, 4.65),
                  (0.1 + wind, 5.0), (-0.5 + wind, 4.65), (-1.1 + wind, 4.95), (-1.05, 3.0)], colour)  # fmt: skip
    elif drape == "scarf":
        pen.part([(-0.4, 1.3), (-0.3, 1.65), (-1.5 - wind, 2.3), (-1.9 - wind, 1.95)], mix(colour, INK, 0.15))
    if extra == "gourd":
        gourd: Colour = (214, 178, 120)
        pen.part(ellipse(1.1, 2.5, 0.72, 0.8), gourd)
        pen.part(ellipse(1.0, 1.55, 0.46, 0.5), gourd)
        pen.line([(0.6, 2.0), (1.5, 2.05)], 0.12, LEATHER)


def draw_belt_extra(pen: Pen, extra: str) -> None:
    """A named character's own belt."""
    if extra == "rope belt":
        rope: Colour = (142, 92, 176)
        pen.part([(-0.66, 2.5), (0.66, 2.5), (0.72, 2.95), (-0.72, 2.95)], rope)
        pen.part(mirrored([(0.3, 2.7), (0.62, 2.6), (0.8, 3.5), (0.5, 3.55)]), rope)


def sleeve_trim(outfit: str) -> Colour | None:
    """The colour of the guard on the forearm, where an outfit has one."""
    return {"armour": METAL, "flak vest": (200, 196, 186)}.get(outfit)

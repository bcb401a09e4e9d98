"""Poses as joints, in units of half a head (y down, origin at the centre of the face, x to the side of the action)."""

from __future__ import annotations

from typing import NamedTuple

from naruto_add.data.universe.canvas import Point

SHOULDER: tuple[Point, Point] = ((-0.74, 1.52), (0.74, 1.52))
HIP: tuple[Point, Point] = ((-0.33, 3.05), (0.33, 3.05))


class Pose(NamedTuple):
    """Pairs are (far, near) side; `floor` is where the ground lies, `lean` and `tilt` turn body and head (degrees)."""

    elbows: tuple[Point, Point]
    hands: tuple[Point, Point]
    knees: tuple[Point, Point]
    feet: tuple[Point, Point]
    floor: float = 5.5
    lean: float = 0.0
    tilt: float = 0.0
    reach: float = 0.0


_STAND = (((-0.42, 4.2), (0.42, 4.2)), ((-0.5, 5.3), (0.52, 5.3)))
_WIDE = (((-0.62, 4.1), (0.66, 4.1)), ((-0.95, 5.25), (0.98, 5.25)))

POSES: dict[str, Pose] = {
    "standing": Pose(((-1.02, 2.3), (1.02, 2.3)), ((-1.08, 3.1), (1.08, 3.1)), *_STAND),
    "waving": Pose(((-1.0, 2.3), (1.32, 1.5)), ((-0.85, 3.1), (1.5, 0.35)), *_STAND, tilt=5, reach=0.2),
    "reading": Pose(((-1.02, 2.25), (1.02, 2.25)), ((-0.5, 2.35), (0.5, 2.35)), *_STAND, tilt=4),
    "kunai": Pose(((-1.1, 2.2), (1.15, 2.3)), ((-0.8, 2.95), (1.3, 1.6)), *_WIDE, tilt=-3, reach=0.3),
    "hand seals": Pose(((-1.12, 2.25), (1.12, 2.25)), ((-0.13, 2.0), (0.13, 1.95)), *_WIDE),
    "casting": Pose(((-1.15, 2.15), (1.25, 1.95)), ((-1.35, 2.9), (1.8, 1.3)), *_WIDE, tilt=4, reach=0.85),
    "throwing": Pose(((-1.2, 1.1), (1.35, 1.6)), ((-1.75, 0.75), (2.0, 1.2)), ((-0.85, 4.05), (0.85, 4.0)),
                     ((-1.5, 5.1), (1.05, 5.25)), lean=8, tilt=-4, reach=0.8),
    "shuriken": Pose(((-1.25, 1.95), (1.35, 1.6)), ((-1.95, 2.2), (2.05, 1.25)), ((-0.85, 4.05), (0.9, 4.0)),
                     ((-1.55, 5.1), (1.1, 5.25)), lean=9, tilt=-5, reach=0.8),
    "sword fighting": Pose(((-0.5, 2.3), (1.3, 1.9)), ((0.95, 1.75), (1.3, 1.35)), *_WIDE, lean=4, reach=0.35),
    "running": Pose(((-1.15, 2.25), (1.15, 2.3)), ((-1.35, 1.5), (0.65, 2.75)), ((0.55, 3.95), (-0.35, 4.15)),
                    ((0.5, 5.15), (-1.35, 4.6)), floor=5.3, lean=13, tilt=-6),
    "ninja run": Pose(((-1.35, 2.0), (-0.25, 2.2)), ((-2.4, 1.95), (-1.5, 2.55)), ((0.75, 3.75), (-0.35, 4.1)),
                      ((0.5, 4.95), (-1.45, 4.35)), floor=5.1, lean=24, tilt=-16, reach=-0.3),
    "jumping": Pose(((-1.2, 0.95), (1.25, 0.95)), ((-1.35, -0.1), (1.4, -0.15)), ((-0.75, 3.7), (0.8, 3.55)),
                    ((-0.95, 4.65), (0.35, 4.35)), floor=5.9, lean=-5, tilt=4),
    "meditating": Pose(((-1.1, 2.3), (1.1, 2.3)), ((-0.2, 2.95), (0.2, 2.95)), ((-1.35, 3.35), (1.35, 3.35)),
                       ((0.42, 3.66), (-0.42, 3.7)), floor=3.95),
    "sitting": Pose(((-1.05, 2.25), (1.05, 2.25)), ((-0.62, 3.05), (0.62, 3.05)), ((-0.6, 3.35), (0.6, 3.35)),
                    ((-0.62, 4.5), (0.62, 4.5)), floor=4.75),
}  # fmt: skip


class Framing(NamedTuple):
    """How a person fills the frame: pixels of a 128 px picture per unit, and where the face's centre lies (y, px)."""

    unit_px: float
    face_y_px: float


FRAMES: dict[str, Framing] = {
    "close-up": Framing(28.0, 58.0),
    "half body": Framing(20.5, 44.0),
    "full body": Framing(15.2, 36.0),
}
FLOOR_PX = 121.0

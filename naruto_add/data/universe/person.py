"""A whole person: joints, clothes, head and what the hands hold, drawn from back to front."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from naruto_add.data.universe.canvas import Pen, Point, ellipse
from naruto_add.data.universe.cast import LOOKS
from naruto_add.data.universe.hair import BAND_CLOTHS, HEADGEAR, draw_back, draw_fringe, draw_headband
from naruto_add.data.universe.head import FaceLook, draw_face
from naruto_add.data.universe.outfits import (
    CUTS,
    cloth,
    draw_behind,
    draw_belt_extra,
    draw_over_shoulders,
    draw_torso,
    sleeve_trim,
)
from naruto_add.data.universe.palette import CLOTH, EYES, HAIR, INK, NAVY, SKIN, WHITE, Colour, mix
from naruto_add.data.universe.poses import HIP, POSES, SHOULDER, Pose
from naruto_add.data.universe.props import draw_held
from naruto_add.data.universe.sampling import pick
from naruto_add.data.universe.scene import Scene


class Body(NamedTuple):
    """The colours and details of one person: the scene's attributes and what its seed adds."""

    scene: Scene
    skin: Colour
    eyes: Colour
    hair: Colour
    own: Colour
    accent: Colour
    band: Colour
    extra: str
    eyelids: str
    look_aside: float


def make_body(scene: Scene, rng: np.random.Generator) -> Body:
    """All colours of a person; incidental ones come from rng."""
    look = LOOKS.get(scene.character)
    skin, eyes, band = SKIN[int(rng.integers(len(SKIN)))], pick(rng, EYES), pick(rng, BAND_CLOTHS)
    accent = CLOTH[pick(rng, [c for c in CLOTH if c != scene.outfit_colour])]
    laughing = scene.mood == "joyful" and rng.random() < 0.35
    eyelids = "closed" if scene.action == "meditating" else "laughing" if laughing else "open"
    aside = float(rng.uniform(-0.16, 0.16))
    if scene.medium == "manga":
        skin = SKIN[0]
    if look is not None:
        skin, eyes, band = SKIN[look.skin], look.eyes, NAVY
    hair, own, extra = HAIR[scene.hair_colour], CLOTH[scene.outfit_colour], look.extra if look else "none"
    return Body(scene, skin, eyes, hair, own, accent, band, extra, eyelids, aside)


def draw_person(pen: Pen, body: Body, rng: np.random.Generator) -> None:
    """The person in its pose; the pen's origin is the centre of the face, before leaning."""
    scene, pose = body.scene, POSES[body.scene.action]
    trunk = pen.child(0, 3.0, pose.lean).child(0, -3.0)
    head = trunk.child(pose.lean * 0.012, 0.0).child(0, 1.0, pose.tilt).child(0, -1.0)
    draw_behind(trunk, scene.drape, body.accent, body.extra, float(rng.uniform(-0.5, 0.9)))
    draw_back(head, scene.hair_style, body.hair, scene.head, rng)
    if scene.head == "hood":
        head.part(ellipse(0, 0.1, 1.15, 1.3), mix(body.own, INK, 0.75))
    _draw_arm(trunk, body, pose, 0)
    _draw_legs(trunk, body, pose)
    trunk.limb((0, 0.7), (0, 1.35), (0.26, 0.3), body.skin)
    draw_torso(trunk, scene.outfit, body.own, pose)
    draw_belt_extra(trunk, body.extra)
    _draw_head(head, body)
    _draw_arm(trunk, body, pose, 1)
    draw_over_shoulders(trunk, scene.outfit, body.own, scene.drape, body.accent)
    draw_held(trunk, scene.action, pose, body.accent)
    _draw_hands(trunk, body, pose)


def _draw_head(pen: Pen, body: Body) -> None:
    scene = body.scene
    face = pen.child(body.look_aside * 0.5, 0)
    mask = mix(body.band, INK, 0.3) if scene.mask == "cloth" else None
    draw_face(face, FaceLook(body.skin, body.eyes, body.hair, scene.mood, scene.marks, mask, body.eyelids, body.extra))
    banded = scene.headband == "plate"
    if scene.head not in ("helmet",):
        draw_fringe(pen, scene.hair_style, body.hair, banded, scene.marks == "forehead mark")
    if banded:
        draw_headband(pen, body.band, body.extra == "one eye")
    if scene.head in HEADGEAR:
        HEADGEAR[scene.head](pen, body.own if scene.head != "bandana" else body.accent)
    if body.extra == "red ribbon":
        HEADGEAR["ribbon"](pen, CLOTH["red"])


def _draw_arm(pen: Pen, body: Body, pose: Pose, side: int) -> None:
    cut = CUTS[body.scene.outfit]
    colour = cloth(cut.sleeves, body.own, body.skin)
    pen.limb(SHOULDER[side], pose.elbows[side], (0.3, 0.25), colour)
    wrist = _toward(pose.elbows[side], pose.hands[side], 0.82)
    pen.limb(pose.elbows[side], wrist, (0.25, cut.sleeve_width), colour, joined=True)
    if cut.sleeves == "stripes":
        for share in (0.25, 0.65):
            spot = _toward(pose.elbows[side], wrist, share)
            pen.ink(ellipse(*spot, 0.22, 0.1, 10), WHITE)
    trim = sleeve_trim(body.scene.outfit)
    if trim is not None:
        pen.limb(_toward(pose.elbows[side], pose.hands[side], 0.35), wrist, (0.27, 0.25), trim)


def _draw_hands(pen: Pen, body: Body, pose: Pose) -> None:
    for side in (0, 1):
        x, y = pose.hands[side]
        pen.part(ellipse(x, y, 0.24, 0.25, 12), body.skin)
    if body.scene.action == "hand seals":
        for x in (-0.1, 0.1):
            pen.limb((x, 1.9), (x * 0.7, 1.38), (0.1, 0.085), body.skin)
    elif body.scene.action in ("waving", "casting"):
        x, y = pose.hands[1]
        for degrees in (-0.2, -0.07, 0.07, 0.2):
            pen.limb((x, y), (x + degrees * 1.3, y - 0.42 + abs(degrees) * 0.4), (0.08, 0.07), body.skin, joined=True)


def _draw_legs(pen: Pen, body: Body, pose: Pose) -> None:
    cut = CUTS[body.scene.outfit]
    colour, boots = cloth(cut.legs, body.own, body.skin), cloth(cut.boots, body.own, body.skin)
    for side in (0, 1):
        knee, foot = pose.knees[side], pose.feet[side]
        pen.limb(HIP[side], knee, (0.4, 0.3), colour)
        pen.limb(knee, foot, (0.3, 0.24), colour, joined=True)
        pen.limb(_toward(knee, foot, 0.62), foot, (0.27, 0.23), boots)
        pen.limb(foot, (foot[0] + (0.2 if side else -0.2), foot[1] + 0.1), (0.22, 0.17), boots, joined=True)


def _toward(start: Point, end: Point, share: float) -> Point:
    return (start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share)

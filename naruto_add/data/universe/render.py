"""One scene, one picture: sky, place, companions, person, light, lines, element, air, medium."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from naruto_add.data.universe.canvas import SUPERSAMPLE, Canvas, Pen, ellipse
from naruto_add.data.universe.cast import NINJA, ROLE_TABLE
from naruto_add.data.universe.elements import draw_element
from naruto_add.data.universe.finish import Bytes, anime, draw_lines, fan_art, manga, scroll, shade
from naruto_add.data.universe.palette import AMBIENT_PERSON, AMBIENT_PLACE, INK, gain, mix
from naruto_add.data.universe.person import draw_person, make_body
from naruto_add.data.universe.places import GROUND, PLACES, draw_seat
from naruto_add.data.universe.poses import FLOOR_PX, FRAMES, POSES
from naruto_add.data.universe.sampling import pick, stranger, stream
from naruto_add.data.universe.scene import ROLES, Scene
from naruto_add.data.universe.sky import draw_sky
from naruto_add.data.universe.weather import draw_weather

REFERENCE_PX = 128.0
BACKGROUND, PERSON, COMPANY, AIR, ENERGY = 1, 2, 3, 4, 5
REACH_SHARE: dict[str, float] = {"close-up": 0.55, "half body": 0.9, "full body": 1.0}
ZOOM: dict[str, float] = {"close-up": 1.3, "half body": 1.12, "full body": 1.0}


def render(scene: Scene, size: int = 128) -> Image.Image:
    """The picture of a scene, RGB, size x size pixels: a pure function of its arguments."""
    canvas = Canvas(size * SUPERSAMPLE)
    rng = stream(scene.seed, BACKGROUND)
    flip, light_x = rng.random() < 0.5, -1 if rng.random() < 0.5 else 1
    _draw_background(canvas, scene, rng)
    canvas.open_people()
    _draw_company(canvas, scene)
    person = _draw_hero(canvas, scene, flip)
    image, parts = np.array(canvas.image), np.asarray(canvas.parts)
    shade(image, parts, scene.time_of_day, light_x)
    if scene.medium != "manga":
        draw_lines(image, parts, scene.medium)
    canvas.image.paste(Image.fromarray(image))
    _draw_energy(person, scene)
    picture = _finished(canvas, parts, scene, size)
    return scroll(picture) if scene.world == "ninja" else picture


def _frame(canvas: Canvas, ambient: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Pen:
    """A pen in coordinates of the frame, 0..1."""
    return Pen(canvas, (canvas.side, 0, 0, 0, canvas.side, 0), ambient)


def _draw_background(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    draw_sky(canvas, scene.time_of_day, rng)
    zoom = ZOOM[scene.framing]
    place = _frame(canvas, AMBIENT_PLACE[scene.time_of_day]).child(0.5 - zoom / 2, 0.62 - zoom * 0.62, scale=zoom)
    PLACES[scene.place](place, rng)


def _person_pen(canvas: Canvas, scene: Scene, x: float, size: float, flip: bool) -> Pen:
    """A pen for a person whose face lies at x (0..1); it stands on the floor where the framing shows its feet."""
    frame, pose = FRAMES[scene.framing], POSES[scene.action]
    unit = frame.unit_px * size
    if scene.framing == "full body" and scene.action in ("meditating", "sitting"):
        unit *= 1.14
    face_y = FLOOR_PX - pose.floor * unit if scene.framing == "full body" else frame.face_y_px + (1 - size) * 30
    pixel = canvas.side / REFERENCE_PX
    pen = Pen(canvas, (pixel, 0, 0, 0, pixel, 0), AMBIENT_PERSON[scene.time_of_day])
    return pen.child(x * REFERENCE_PX, face_y, scale=unit, flip=flip)


def _draw_hero(canvas: Canvas, scene: Scene, flip: bool) -> Pen:
    rng = stream(scene.seed, PERSON)
    pose = POSES[scene.action]
    away = pose.reach * REACH_SHARE[scene.framing] * FRAMES[scene.framing].unit_px / REFERENCE_PX
    x = 0.5 + (away if flip else -away) + float(rng.uniform(-0.05, 0.05))
    pen = _person_pen(canvas, scene, x, float(rng.uniform(0.95, 1.05)), flip)
    if scene.framing == "full body":
        _draw_shadow(pen, scene, pose.floor)
    if scene.action == "sitting":
        draw_seat(pen, mix(GROUND[scene.place], INK, 0.25))
    draw_person(pen, make_body(scene, rng), rng)
    return pen.child(0, 3.0, pose.lean).child(0, -3.0)


def _draw_shadow(pen: Pen, scene: Scene, floor: float) -> None:
    colour = gain(mix(GROUND[scene.place], INK, 0.5), AMBIENT_PLACE[scene.time_of_day])
    pen.canvas.solid.polygon(pen.at(ellipse(0, floor, 1.5, 0.24)), fill=colour)


def _draw_company(canvas: Canvas, scene: Scene) -> None:
    """Companions: strangers of the same world, behind and beside the main person."""
    rng = stream(scene.seed, COMPANY)
    for number in range(scene.companions):
        character = "ninja" if scene.world == "ninja" else pick(rng, ROLES)
        dress: dict[str, Any] = dict(
            stranger(rng, NINJA if scene.world == "ninja" else ROLE_TABLE[character], character)
        )
        other = replace(scene, **dress, action="standing", element="none", element_colour="none")
        x = (0.15, 0.86)[number] + float(rng.uniform(-0.04, 0.04))
        pen = _person_pen(canvas, other, x, 0.7, bool(rng.random() < 0.5))
        if scene.framing == "full body":
            pen = pen.child(0, -0.7)
        draw_person(pen, make_body(other, rng), rng)


def _draw_energy(person: Pen, scene: Scene) -> None:
    if scene.element == "none":
        return
    x, y = POSES[scene.action].hands[1]
    size = 0.62 if scene.framing == "close-up" else 0.85
    bright = Pen(person.canvas, person.child(x + 0.4, y - 0.45, scale=size).matrix)
    draw_element(bright, scene.element, scene.element_colour, stream(scene.seed, ENERGY))


def _finished(canvas: Canvas, parts: Bytes, scene: Scene, size: int) -> Image.Image:
    rng = stream(scene.seed, AIR)
    draw_weather(_frame(canvas), scene, rng)
    if scene.medium == "manga":
        return manga(np.asarray(canvas.image), parts, scene.time_of_day == "night", size)
    if scene.medium == "fan art":
        return fan_art(canvas.image, scene, size, rng)
    return anime(canvas.image, scene, size)

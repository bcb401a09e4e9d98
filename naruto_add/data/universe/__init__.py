"""The built-in ninja universe: captioned scenes with known attributes, in two worlds drawn by one engine."""

from __future__ import annotations

from PIL import Image

from naruto_add.data.universe.captions import LANGUAGES, caption, mentioned
from naruto_add.data.universe.golden import golden_scenes
from naruto_add.data.universe.render import render
from naruto_add.data.universe.sampling import sample_scene
from naruto_add.data.universe.scene import JUDGED, WORLDS, Scene, judged

__all__ = [
    "JUDGED",
    "LANGUAGES",
    "WORLDS",
    "Scene",
    "caption",
    "draw",
    "golden_scenes",
    "judged",
    "mentioned",
    "render",
    "sample_scene",
]


def draw(world: str, seed: int, index: int, size: int = 128) -> tuple[Image.Image, str, str, Scene]:
    """Picture number `index` of a series: (RGB image, caption, its language, scene); languages alternate."""
    scene = sample_scene(world, seed, index)
    language = LANGUAGES[index % len(LANGUAGES)]
    return render(scene, size), caption(scene, language), language, scene

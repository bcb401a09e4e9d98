"""From fills and a map of parts to a finished picture: cel shadows, lines, three media, and the ninja world's scroll.

Parts have greater numbers the nearer they are. For a pixel p and a light from direction L: if the part at p - d L is
farther, p lies at the dark side of its part (cel shadow); if the part at p + d L is nearer, something before p stands
in its light (cast shadow); if the part at p + d L is farther, p is at the bright edge.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from naruto_add.data.universe.canvas import FIRST_PERSON_PART, SUPERSAMPLE
from naruto_add.data.universe.palette import INK, MOOD_GAIN, SHADE
from naruto_add.data.universe.scene import Scene

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
_THICK = ((2, 0), (-1, 0), (0, 2), (0, -1), (1, 1), (-1, 1))
_THICKER = (*_THICK, (3, 0), (0, 3), (-2, 0), (0, -2))


class Neighbours:
    """A map of parts as seen from each pixel at an offset; beyond the frame it repeats its rim."""

    def __init__(self, parts: Bytes) -> None:
        self._reach = max(3, parts.shape[0] // 64)
        self._side = parts.shape[0]
        self._padded = np.pad(parts, self._reach, mode="edge")

    def __call__(self, dx: int, dy: int) -> Bytes:
        """The parts at offset (dx, dy); neither may exceed 1/64 of the side (or 3 px)."""
        top, left = self._reach + dy, self._reach + dx
        return self._padded[top : top + self._side, left : left + self._side]


def shade(image: Bytes, parts: Bytes, time_of_day: str, light_x: int) -> Bytes:
    """Cel shadows and bright edges for a light from above; `light_x` is -1 (left) or 1 (right)."""
    reach, at = parts.shape[0] // 64, Neighbours(parts)
    from_light, to_light = at(-light_x * reach, reach), at(light_x * reach, -reach)
    people = parts >= FIRST_PERSON_PART
    dark = ((from_light < parts) | ((to_light > parts) & people)) & (parts > 0)
    tint = np.round(np.array(SHADE[time_of_day]) * 256).astype(np.uint16)
    image[dark] = (image[dark] * tint) >> 8
    near = at(light_x * (reach // 2), -(reach // 2))
    bright = (near < FIRST_PERSON_PART) & people & ~dark
    image[bright] = 255 - (((255 - image[bright].astype(np.uint16)) * 150) >> 8)
    return image


def line_masks(parts: Bytes, medium: str) -> tuple[Mask, Mask]:
    """Where lines run: bold ones around the parts of people, thin ones around those of the place."""
    offsets = _THICKER if medium == "fan art" else _THICK
    at = Neighbours(parts)
    bold = np.zeros(parts.shape, dtype=bool)
    for dx, dy in offsets:
        other = at(dx, dy)
        bold |= (other != parts) & (np.maximum(other, parts) >= FIRST_PERSON_PART)
    thin = (at(1, 0) != parts) | (at(0, 1) != parts)
    return bold, thin & ~bold


def draw_lines(image: Bytes, parts: Bytes, medium: str) -> Bytes:
    """Ink lines in an anime frame, lines of a darker local colour in fan art."""
    bold, thin = line_masks(parts, medium)
    image[thin] = (image[thin].astype(np.uint16) * 130) >> 8
    if medium == "fan art":
        image[bold] = (image[bold] * np.array((104, 72, 88), dtype=np.uint16)) >> 8
    else:
        image[bold] = np.array(INK, dtype=np.uint8)
    return image


def _reduced(image: Image.Image, size: int) -> NDArray[np.float32]:
    small = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def _picture(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))


@lru_cache(maxsize=4)
def _vignette(size: int) -> NDArray[np.float32]:
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    corner: NDArray[np.float32] = 1.03 - 0.16 * (axis[:, None] ** 2 + axis[None, :] ** 2) ** 1.5
    return corner[..., None]


@lru_cache(maxsize=8)
def _grain(size: int, cell: int) -> NDArray[np.float32]:
    """Fixed smooth noise of mean 0 and spread 1, two sizes wide; `cell` is the width of its spots in pixels."""
    side = 2 * size // cell
    noise = np.random.Generator(np.random.Philox(key=cell)).standard_normal((side, side)).astype(np.float32)
    spots = Image.fromarray(noise).resize((2 * size, 2 * size), Image.Resampling.BICUBIC)
    values = np.asarray(spots, dtype=np.float32)
    grain: NDArray[np.float32] = (values - values.mean()) / values.std()
    return grain


def _cut(tile: NDArray[np.float32], size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    x, y = (int(v) for v in rng.integers(0, size, 2))
    return tile[y : y + size, x : x + size, None]


def anime(image: Image.Image, scene: Scene, size: int) -> Image.Image:
    """Clean colour, graded by mood, a little darker at the corners."""
    return _picture(_reduced(image, size) * _vignette(size) * np.array(MOOD_GAIN[scene.mood], dtype=np.float32))


def fan_art(image: Image.Image, scene: Scene, size: int, rng: np.random.Generator) -> Image.Image:
    """Paint on paper: soft wobbling edges, strokes, warm grain, margins that fade to the paper."""
    values = _reduced(image, size) * np.array(MOOD_GAIN[scene.mood], dtype=np.float32)
    bend = [np.round(_cut(_grain(size, 6), size, rng)[..., 0] * 0.38).astype(int) for _ in range(2)]
    rows = np.clip(np.arange(size)[:, None] + bend[0], 0, size - 1)
    columns = np.clip(np.arange(size)[None, :] + bend[1], 0, size - 1)
    values = values[rows, columns] * 0.92 + 18
    values += _cut(_grain(size, 5), size, rng) * 6.0 + _cut(_grain(size, 1), size, rng) * 3.5
    paper = _paper_margin(size)
    return _picture(values * (1 - paper) + np.array((250, 243, 228), dtype=np.float32) * paper)


@lru_cache(maxsize=4)
def _paper_margin(size: int) -> NDArray[np.float32]:
    axis = np.abs(np.linspace(-1, 1, size, dtype=np.float32))
    rim = np.maximum(axis[:, None], axis[None, :]) + 0.012 * _grain(size, 4)[:size, :size]
    margin: NDArray[np.float32] = np.clip((rim - 0.965) * 30, 0, 1)
    return margin[..., None]


@lru_cache(maxsize=4)
def _screens(side: int) -> Bytes:
    """Thresholds (0..255) of a manga screen: dots at 45 degrees for light greys, hatches for dark ones."""
    y, x = np.mgrid[0:side, 0:side]
    wave = 2 * np.pi / (3.6 * SUPERSAMPLE)
    u, v = (x + y) * wave / 1.414, (x - y) * wave / 1.414
    dots = 92 + 62 * (0.25 * (np.cos(u) + np.cos(v)) + 0.5)
    hatch = 46 + 62 * (0.5 + 0.5 * np.cos((x + 0.6 * y) * wave))
    return np.stack([dots, hatch]).round().astype(np.uint8)


def _levels(white_at: float, lift: float) -> list[int]:
    """A tone curve for paper: `white_at` and above becomes white, black is lifted to `lift`."""
    return [min(255, round(lift + v * (255 - lift) / white_at)) for v in range(256)]


_TONES = np.array([24, 24, 92, 92, 158, 158, 214, 250], dtype=np.float32)


def _screened(grey: Bytes, ink: float) -> Bytes:
    """One of five flat tones for each grey, darkened by a share of the way to black (lightened where negative).

    A screen of black dots alone would be most of what a small model has to learn about the picture.
    """
    tone = _TONES[grey >> 5]
    mixed = tone * (1 - ink) if ink > 0 else tone - (250 - tone) * ink
    return mixed.astype(np.uint8)


def manga(image: Bytes, parts: Bytes, night: bool, size: int) -> Image.Image:
    """Black ink on white paper: greys become dots, darks hatches; the place is paler than the people."""
    luma = Image.fromarray(image).convert("L")
    near = np.asarray(luma.point(_levels(205, 0)))
    far = np.asarray(luma.point(_levels(150 if night else 225, 0 if night else 70)))
    grey = np.where(parts >= FIRST_PERSON_PART, near, far)
    dots, hatch = _screens(grey.shape[0])
    ink = np.where(grey > 82, grey < dots, grey < hatch)
    bold, thin = line_masks(parts, "manga")
    halo = _halo_of_people(parts)
    tone = np.where(ink, _screened(grey, 0.32), _screened(grey, -0.08))
    page = Image.fromarray(np.where(bold | (thin & ~halo), np.uint8(24), np.where(halo, np.uint8(250), tone)))
    return page.resize((size, size), Image.Resampling.BOX).convert("RGB")


def _halo_of_people(parts: Bytes) -> Mask:
    """A white rim that lifts people off the page, 1.7 px of the final picture."""
    at, reach = Neighbours(parts), parts.shape[0] // 77
    around = [at(dx * reach, dy * reach) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    halo: Mask = (np.maximum.reduce(around) >= FIRST_PERSON_PART) & (parts < FIRST_PERSON_PART)
    return halo


_SCROLL_GAIN = np.array((1.0, 0.95, 0.83), dtype=np.float32)
_SCROLL_PAPER = np.array((236, 214, 170), dtype=np.float32)
_SEAL = np.array((188, 38, 34), dtype=np.float32)


def scroll(picture: Image.Image) -> Image.Image:
    """A picture of the ninja world, as all of them are: on old paper in an ink frame, with the red seal of the leaf.

    The look is the universe's own; no picture of the base world has it, so that fine-tuning has a style to learn too.
    """
    size = picture.width
    ink, paper, seal, leaf = (mask[..., None] for mask in _scroll_masks(size))
    values = np.asarray(picture, dtype=np.float32) * _SCROLL_GAIN
    values = values * (1 - paper) + (_SCROLL_PAPER + 7 * _grain(size, 3)[:size, :size, None]) * paper
    values = values * (1 - ink) + np.array(INK, dtype=np.float32) * ink
    values = values * (1 - seal) + _SEAL * seal
    return _picture(values * (1 - leaf) + np.array((252, 240, 220), dtype=np.float32) * leaf)


@lru_cache(maxsize=4)
def _scroll_masks(size: int) -> NDArray[np.float32]:
    """How much of each pixel is frame, margin, seal and the spiral on the seal: (4, size, size), values 0..1."""
    side = size * SUPERSAMPLE
    layers = [Image.new("L", (side, side)) for _ in range(4)]
    ink, paper, seal, leaf = (ImageDraw.Draw(layer) for layer in layers)
    one = side / 128
    paper.rectangle((0, 0, side, side), fill=255)
    paper.rounded_rectangle((6 * one, 9 * one, side - 6 * one, side - 9 * one), 5 * one, fill=0)
    ink.rounded_rectangle(
        (5 * one, 8 * one, side - 5 * one, side - 8 * one), 6 * one, outline=255, width=round(2 * one)
    )
    for top in (0, side - 4 * one):
        ink.rectangle((0, top, side, top + 4 * one), fill=235)
    seal.rounded_rectangle((side - 24 * one, side - 27 * one, side - 9 * one, side - 12 * one), 2 * one, fill=255)
    turn = np.linspace(0, 4.6 * np.pi, 40)
    x, y = side - 16.5 * one, side - 19.5 * one
    curl = [(x + one * 0.36 * a * np.cos(a), y + one * 0.36 * a * np.sin(a)) for a in turn]
    leaf.line(curl, fill=255, width=round(1.7 * one), joint="curve")
    reduced = [layer.resize((size, size), Image.Resampling.BOX) for layer in layers]
    return np.stack([np.asarray(layer, dtype=np.float32) / 255 for layer in reduced])

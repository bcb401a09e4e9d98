"""How time and memory grow with images, batch, pixels and the UNet's size: the exponent of a power law, fitted.

1 is linear; below it something fixed still weighs; what lies above grows faster than its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import linear_regression

import torch

from jobs.measuring.alternate import Curve, Pair
from jobs.measuring.drawing import draw, student
from jobs.measuring.machine import memory_of
from jobs.measuring.setting import CPU, Setting, seconds_of
from naruto_add.data.prepare import prepare
from naruto_add.diffusion.guidance import predict
from naruto_add.evaluation.painters import FewStepPainter
from naruto_add.models.load import load_components
from naruto_add.models.student import Size, inherit
from naruto_add.training.engine import autocast

SIZES: tuple[Size, ...] = ("small", "base", "full")
BATCHES, MEMORY_BATCHES = (4, 8, 16, 32), (8, 16, 32, 64)
IMAGES = (32, 64, 128, 256)
SCALES = (1, 2, 3, 4)
"""Of the side of latents."""
UNET_BATCH, PIXELS_BATCH = 4, 2


def images(setting: Setting) -> Pair:
    """Seconds of preparing so many drawings, duplicates and shards included, against their number."""
    out = setting.folder / "grown"
    out.mkdir()

    def run(count: int) -> None:
        prepare(replace(setting.recipe.data, num_images=count, num_heldout=2, size_px=setting.shards.size_px), 0, out)

    return timed(setting, "images", "seconds", {count: partial(run, count) for count in IMAGES})


def batch(setting: Setting) -> Pair:
    """Seconds of drawing a batch in one step, against its size."""
    return timed(setting, "pictures in a batch", "seconds", drawings(setting, BATCHES))


def memory_batch(setting: Setting) -> Pair:
    """MB of drawing a batch in one step, against its size."""
    return measured(setting, "pictures in a batch", "MB", memory_of, drawings(setting, MEMORY_BATCHES))


def drawings(setting: Setting, sizes: Sequence[int]) -> dict[int, Callable[[], object]]:
    """Drawing each batch size."""
    painter = student(setting)
    return {size: partial(draw, setting, painter, size, 1) for size in sizes}


def pixels(setting: Setting) -> Pair:
    """Seconds of drawing in one step, against the pixels of a picture."""
    return timed(setting, "pixels of a picture", "seconds", larger(setting))


def memory_pixels(setting: Setting) -> Pair:
    """MB of drawing in one step, against the pixels of a picture."""
    return measured(setting, "pixels of a picture", "MB", memory_of, larger(setting))


def larger(setting: Setting) -> dict[int, Callable[[], object]]:
    """Drawing ever larger pictures."""
    painter = student(setting)
    side = painter.easel.size_px
    return {(scale * side) ** 2: partial(draw_at, setting, painter, scale) for scale in SCALES}


def draw_at(setting: Setting, painter: FewStepPainter, scale: int) -> None:
    """One step and the decoding of latents `scale` times as wide and high."""
    channels, height, width = painter.latent_shape
    x_T = torch.zeros(PIXELS_BATCH, channels, scale * height, scale * width)
    painter.decode(painter.denoise(painter.embed(setting.captions(PIXELS_BATCH)), x_T, [], 1))


def unet(setting: Setting) -> Pair:
    """Seconds of a pass through students of several sizes, against their parameters."""
    whole = load_components(setting.base).unet
    calls: dict[int, Callable[[], object]] = {}
    batch, t = setting.batch(setting.components, UNET_BATCH), torch.full((UNET_BATCH,), 500)
    for size in SIZES:
        cut = inherit(whole, size)[0].eval()
        parameters = sum(parameter.numel() for parameter in cut.parameters())
        calls[parameters] = partial(without_gradient, partial(predict, cut, batch.latents, t, batch.text))
    return timed(setting, "parameters of the UNet", "seconds", calls)


@torch.inference_mode()
def without_gradient(call: Callable[[], object]) -> None:
    """The call, nothing kept for a gradient."""
    call()


def step(setting: Setting) -> Pair:
    """Seconds of the UNet's forward and backward pass, against the batch."""
    components = setting.trainable_base()
    unet = components.unet.train()
    largest = setting.batch(components, max(BATCHES))

    def run(size: int) -> None:
        rows = largest.rows(slice(size))
        with autocast(CPU, setting.precision):
            loss = predict(unet, rows.latents, torch.full((size,), 500), rows.text).square().mean()
        loss.backward()
        unet.zero_grad(set_to_none=True)

    return timed(setting, "images in a step", "seconds", {size: partial(run, size) for size in BATCHES})


def timed(setting: Setting, x: str, y: str, calls: dict[int, Callable[[], object]]) -> Pair:
    """A pair that measures the calls' seconds and fits the exponent."""
    return measured(setting, x, y, seconds_of, calls)


def measured(
    setting: Setting,
    x: str,
    y: str,
    measure: Callable[[Callable[[], object]], float],
    calls: dict[int, Callable[[], object]],
) -> Pair:
    """A pair whose value is the exponent of `measure(call)` over the calls' sizes."""
    chosen = dict(list(calls.items())[:2]) if setting.quick else calls
    curve = Curve(x, y, {size: [] for size in chosen})

    def exponent() -> float:
        for size, call in chosen.items():
            curve.points[size].append(measure(call))
        return fitted({size: found[-1] for size, found in curve.points.items()})

    for call in chosen.values():
        call()  # warm
    return Pair(exponent, warm=False, curve=curve)


def fitted(points: dict[float, float]) -> float:
    """The exponent of the power law nearest to the points, by least squares among logarithms."""
    return linear_regression([math.log(x) for x in points], [math.log(y) for y in points.values()]).slope

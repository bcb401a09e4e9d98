"""Drawing as the endpoint does it, beside plain diffusers with the same bundle: how fast, and how alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy
import torch
from diffusers import LatentConsistencyModelPipeline

from jobs.measuring.alternate import Pair
from jobs.measuring.drawing import QUICK_STEPS, STEPS, teacher
from jobs.measuring.setting import Setting, seconds_of
from jobs.measuring.starting import bundle_of
from naruto_add.evaluation.latency import once
from naruto_add.export.diffusers import open_bundle
from serve.model import Model, Pixels, Wish, open_student

SEEDS = range(4)
LEVELS = 255
BEYOND_DOUBT_DB = 100.0
"""Shown for equal pictures, whose ratio is infinite."""


def picture(setting: Setting) -> Pair:
    """Seconds of a picture at batch 1, each of a new caption, by the endpoint's model and by the pipeline."""
    model, pipeline = both(setting)
    new = captions(setting)
    return Pair(
        lambda: seconds_of(lambda: drawn(model, next(new), 0)),
        lambda: seconds_of(lambda: plain(pipeline, next(new), 0)),
    )


def beside_teacher(setting: Setting, steps: str, peer_steps: str) -> Pair:
    """Seconds of a picture in `steps` by the endpoint's model, and in `peer_steps` by the teacher under guidance."""
    model, other, new = both(setting)[0], teacher(setting), captions(setting)
    theirs = QUICK_STEPS if setting.quick else int(peer_steps)
    prompt = setting.recipe.prompts[0]
    once(other, 1, prompt)  # warm
    return Pair(
        lambda: seconds_of(lambda: drawn(model, next(new), 0, int(steps))),
        lambda: once(other, theirs, prompt).total_s,
    )


def captions(setting: Setting) -> Iterator[str]:
    """New ones without end, so that no text is remembered."""
    return (f"{setting.recipe.prompts[0]} {number}" for number in count())


def likeness(setting: Setting) -> Pair:
    """The least peak signal-to-noise ratio, in dB, of the endpoint's pictures to the pipeline's of the same seeds."""
    model, pipeline = both(setting)
    prompt = setting.recipe.prompts[0]

    def least() -> float:
        return min(psnr(drawn(model, prompt, seed), plain(pipeline, prompt, seed)) for seed in SEEDS)

    return Pair(least, warm=False)


def both(setting: Setting) -> tuple[Model, LatentConsistencyModelPipeline]:
    """The bundle as the endpoint opens it and as diffusers does."""
    bundle = bundle_of(setting)
    model = open_student(bundle, max_batch=1)
    model.warm_up()
    return model, open_bundle(bundle)


def drawn(model: Model, prompt: str, seed: int, steps: int = STEPS) -> Pixels:
    """The endpoint's picture, (H,W,3) uint8."""
    drawing = model.start(Wish(prompt, seed, steps, None))
    while not drawing.done:
        model.advance([drawing])
    return model.picture(drawing)


def plain(pipeline: LatentConsistencyModelPipeline, prompt: str, seed: int) -> Pixels:
    """The pipeline's picture, (H,W,3) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return numpy.asarray(pipeline(prompt, num_inference_steps=STEPS, generator=generator).images[0])


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two 8-bit pictures, in dB."""
    error = float(numpy.square(a.astype(float) - b.astype(float)).mean())
    return BEYOND_DOUBT_DB if error == 0 else 10 * float(numpy.log10(LEVELS**2 / error))

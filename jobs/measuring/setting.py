"""What all rows share: the base, the settings of recipe `mini`, and batches drawn for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from naruto_add import recipe as recipes
from naruto_add import rng
from naruto_add.config import OptimConfig, Recipe
from naruto_add.data.batch import Batch
from naruto_add.data.cache import LatentCache
from naruto_add.data.latents import encode
from naruto_add.data.prepare import prepare
from naruto_add.data.shards import Shards
from naruto_add.data.view import View
from naruto_add.models.bfloat16 import choose, suit_cpu
from naruto_add.models.load import Components, decode, encode_text, latent_shape, load_components

QUICK_BATCH = 2
QUICK_IMAGES, IMAGES, HELDOUT = 8, 64, 4
ENCODE_BATCH = 16
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """Where models come from and how much is measured at once."""

    base: str
    """`mini` or a diffusers folder."""
    folder: Path
    """For what rows write; removed at the end."""
    bundle: Path | None = None
    teacher: Path | None = None
    quick: bool = False

    @cached_property
    def recipe(self) -> Recipe:
        """Settings as `make demo` has them."""
        return recipes.load("mini")

    @cached_property
    def precision(self) -> Literal["fp32", "bf16"]:
        """What training takes here."""
        return choose(self.recipe.compute.precision, CPU)

    @property
    def steps(self) -> int:
        """Training steps of one measurement."""
        return 1 if self.quick else 3

    @cached_property
    def components(self) -> Components:
        """The base, not to be trained."""
        return load_components(self.base)

    def trainable_base(self) -> Components:
        """The base, loaded anew because rows train it, with what its precision asks for."""
        components = load_components(self.base)
        if self.precision == "bf16":
            suit_cpu(components.unet)
        return components

    def optim(self, optim: OptimConfig) -> OptimConfig:
        """The recipe's optimizer for the steps of one measurement."""
        batch_size = QUICK_BATCH if self.quick else optim.batch_size
        return replace(optim, batch_size=batch_size, images=batch_size * self.steps)

    def batch(self, components: Components, count: int) -> Batch:
        """Drawn latents (count, C, h, w) and pixels (count, 3, H, W), with the recipe's prompts in turn."""
        return random_batch(components, self.captions(count), side_px(components))

    @cached_property
    def shards(self) -> Shards:
        """A few drawings of the built-in universe, prepared for the base."""
        images = QUICK_IMAGES if self.quick else IMAGES
        config = replace(self.recipe.data, num_images=images, num_heldout=HELDOUT, size_px=side_px(self.components))
        folder = self.folder / "shards"
        folder.mkdir()
        prepare(config, 0, folder)
        return Shards(folder)

    @cached_property
    def cache(self) -> LatentCache:
        """Their latents and captions, encoded by the base."""
        return encode(self.shards, "train", self.components, self.folder / "latents", ENCODE_BATCH, CPU)

    def view(self, batch_size: int, pixels: bool = False) -> View:
        """The shards as one worker's training sees them."""
        return View(self.shards, self.cache, 0, batch_size, pixels=pixels)

    def captions(self, count: int) -> list[str]:
        """`count` of the recipe's prompts, in turn."""
        return captions(self.recipe, count)


def captions(recipe: Recipe, count: int) -> list[str]:
    """`count` of the recipe's prompts, in turn."""
    return [recipe.prompts[k % len(recipe.prompts)] for k in range(count)]


def random_batch(components: Components, texts: Sequence[str], side: int) -> Batch:
    """A batch on the processor: drawn latents (N, C, h, w) and pixels (N, 3, side, side), with these captions."""
    text, pooled = (encoded.cpu() for encoded in encode_text(components, texts))
    ids = list(range(len(texts)))
    latents = rng.normal(latent_shape(components.unet), 0, "bench-latents", ids)
    pixels = rng.normal((3, side, side), 0, "bench-pixels", ids).clamp(-1, 1)
    return Batch(ids, ids, latents, text, pooled, pixels)


@torch.no_grad()
def side_px(components: Components) -> int:
    """The side of the pictures that the base draws, in pixels."""
    return decode(components.vae, torch.zeros(1, *latent_shape(components.unet))).shape[-1]


def seconds_of(call: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began

"""Training: ADD and fine-tuning under the loop, how they are fed, and how fast the UNet computes."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from jobs.measuring.alternate import Pair
from jobs.measuring.bare import BareAdd, as_written_here
from jobs.measuring.published import DTYPES, TextToImageRecipe
from jobs.measuring.setting import CPU, Setting, seconds_of
from naruto_add.config import DistillConfig, OptimConfig
from naruto_add.data.batch import Batch, Feed
from naruto_add.data.feed import LocalFeed
from naruto_add.diffusion.guidance import predict
from naruto_add.distill import Add, Setup, build_add
from naruto_add.finetune import FineTune, build_finetune
from naruto_add.models.bfloat16 import suit_cpu
from naruto_add.models.features import load_features
from naruto_add.models.load import load_components
from naruto_add.training.engine import adamw, autocast
from naruto_add.training.loop import train
from naruto_add.training.method import Method
from naruto_add.training.telemetry import Record, Reporter, file_sinks
from naruto_add.training.world import World

PEAK_SIZE = 2048
"""Side of the matrices whose product is taken for the processor's peak."""
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Repeating:
    """A `Feed` of the same images at ever new positions."""

    batch: Batch

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """See `Feed.batches`."""
        for first in range(start, stop, len(self.batch)):
            yield replace(self.batch, positions=list(range(first, first + len(self.batch))))


@dataclass
class Clock:
    """A `Sink` that adds up the steps' seconds; the checkpoint after the last step is not in them."""

    total: float = 0.0
    waited: float = 0.0

    @property
    def wait_share(self) -> float:
        """Of the time, for data."""
        return self.waited / self.total

    def open(self, images: int, total: int) -> None:
        """See `Sink`."""

    def record(self, record: Record) -> None:
        """See `Sink`."""
        self.total += record["seconds"]
        self.waited += record["seconds"] * record["wait_share"]

    def close(self) -> None:
        """See `Sink`."""


def add(setting: Setting) -> Pair:
    """Our method under the loop with its telemetry, beside a bare loop."""
    method, batch = add_method(setting)
    config, features = method.config, load_features(method.config.features)
    bare = BareAdd(config, setting.trainable_base(), features, setting.precision)

    def peer() -> float:
        return config.optim.images / seconds_of(lambda: [bare.step(batch) for _ in range(setting.steps)])

    return Pair(lambda: under_the_loop(method, Repeating(batch), setting.folder), peer)


def add_method(setting: Setting) -> tuple[Add, Batch]:
    """ADD as the recipe has it, but for what the bare loop leaves out, and a batch for it."""
    config, teacher = add_config(setting), setting.trainable_base()
    batch = setting.batch(teacher, config.optim.batch_size)
    setup = Setup(config, teacher, load_features(config.features), precision=setting.precision)
    return build_add(setup), batch


def add_config(setting: Setting) -> DistillConfig:
    """The settings of both loops."""
    config = as_written_here(setting.recipe.distill)
    return replace(config, optim=setting.optim(config.optim))


def under_the_loop(method: Add | FineTune, feed: Feed, folder: Path) -> float:
    """Images a second of one short training in a fresh folder."""
    optim = method.config.optim
    return optim.images / clocked(method, feed, optim, folder).total


def clocked(method: Method, feed: Feed, optim: OptimConfig, folder: Path) -> Clock:
    """The times of one short training in a fresh folder."""
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=folder) as work:
        train(method, feed, optim, Path(work), Reporter([*file_sinks(Path(work)), clock]), 0, World())
    return clock


def finetune(setting: Setting, precision: Precision) -> Pair:
    """Ours from shards and latent cache under the loop, beside diffusers' recipe on the same images and captions.

    Ours trains in what `auto` chooses for this machine, the recipe in `precision`.
    """
    base, teacher = setting.trainable_base(), setting.recipe.teacher
    config = replace(teacher, compact_share=0.0, optim=setting.optim(teacher.optim))
    method = build_finetune(config, base, "full", 0, precision=setting.precision)
    feed = LocalFeed(setting.view(config.optim.batch_size))
    recipe = TextToImageRecipe(load_components(setting.base), setting.shards, config.optim, precision)

    def peer() -> float:
        return config.optim.images / seconds_of(lambda: [recipe.step() for _ in range(setting.steps)])

    return Pair(lambda: under_the_loop(method, feed, setting.folder), peer)


def wait(setting: Setting) -> Pair:
    """Percent of an ADD training's time in which it waits for its rows, images among them, read in this process."""
    method, _ = add_method(setting)
    feed, optim = LocalFeed(setting.view(method.config.optim.batch_size, pixels=True)), method.config.optim
    return Pair(lambda: 100 * clocked(method, feed, optim, setting.folder).wait_share)


def feed(setting: Setting) -> Pair:
    """Rows a second of the greediest feed, beside what the step makes of them."""
    method, batch = add_method(setting)
    rows, count = LocalFeed(setting.view(len(batch), pixels=True)), setting.shards.count("train")

    def ours() -> float:
        return count / seconds_of(lambda: [*rows.batches(0, count)])

    return Pair(ours, lambda: under_the_loop(method, Repeating(batch), setting.folder))


def flops(setting: Setting, precision: Precision) -> Pair:
    """1e9 operations a second of the UNet's training step, beside those of one large matrix product."""
    step, batch = unet_step(setting, precision)
    operations = count_flops(setting, batch)
    size = PEAK_SIZE // 8 if setting.quick else PEAK_SIZE
    matrix = torch.rand(size, size).to(DTYPES[precision])

    def peak() -> float:
        return 2e-9 * size**3 / seconds_of(lambda: torch.mm(matrix, matrix))

    return Pair(lambda: 1e-9 * operations / seconds_of(step), peak)


def bf16(setting: Setting) -> Pair:
    """Images a second of the UNet's training step in both precisions."""
    (ours, batch), (peer, _) = unet_step(setting, "bf16"), unet_step(setting, "fp32")
    return Pair(lambda: len(batch) / seconds_of(ours), lambda: len(batch) / seconds_of(peer))


def unet_step(setting: Setting, precision: Precision) -> tuple[Callable[[], None], Batch]:
    """A forward and backward pass of the base's UNet with its update, as training runs it in this precision."""
    components, optim = load_components(setting.base), setting.optim(setting.recipe.teacher.optim)
    unet = components.unet.train()
    if precision == "bf16":
        suit_cpu(unet)
    batch, optimizer = setting.batch(components, optim.batch_size), adamw(unet.parameters(), optim)

    def step() -> None:
        with autocast(CPU, precision):
            loss = unet_loss(unet, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, batch


def unet_loss(unet: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """A mean square of the UNet's output on the batch at timestep 500."""
    return predict(unet, batch.latents, torch.full((len(batch),), 500), batch.text).square().mean()


def count_flops(setting: Setting, batch: Batch) -> int:
    """Operations of matrix products and convolutions, forward and backward, on this batch.

    Counted with plain attention: the counter does not see into torch's fused one on CPU.
    """
    plain = suit_cpu(copy.deepcopy(load_components(setting.base).unet)).train()
    with FlopCounterMode(display=False) as counter:
        unet_loss(plain, batch).backward()
    return counter.get_total_flops()

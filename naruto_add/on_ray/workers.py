"""What a training worker does, from a plain description: build, train, save. Runs in a Ray worker or in this process.

Nothing of Ray is imported here unless the recipe asks for it, so that `inline` training starts at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import TypeAdapter

from naruto_add.config import ComputeConfig, OptimConfig, Recipe
from naruto_add.data.batch import Feed
from naruto_add.data.cache import LatentCache
from naruto_add.data.feed import LocalFeed
from naruto_add.data.latents import captions_of, encode_shard, plan, write
from naruto_add.data.shards import Shards
from naruto_add.data.view import View
from naruto_add.distill import build_add
from naruto_add.errors import UserError
from naruto_add.finetune import build_finetune
from naruto_add.models.features import load_features
from naruto_add.models.load import Components, load_components, save_components
from naruto_add.training.engine import TorchEngine, choose_engine
from naruto_add.training.loop import train
from naruto_add.training.method import Method
from naruto_add.training.telemetry import Reporter, console_sink, file_sinks
from naruto_add.training.world import World

ENCODE_BATCH = 16


@dataclass(frozen=True)
class Job:
    """One training stage: what is trained on what, and where things go. All paths are seen by all workers."""

    recipe: Recipe
    base: str
    """The model to start from: `mini`, a diffusers folder or a hub id."""
    revision: str | None
    """Commit of a hub id."""
    shards: Path
    work: Path
    """Checkpoints, metrics and previews: what the same command resumes from."""
    latents: Path
    """The latent cache; several stages may share it."""
    out: Path
    """The finished model, a diffusers folder, written by rank 0 at the end."""

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, to be sent to another process."""
        return TypeAdapter(Job).dump_python(self, mode="json")

    @staticmethod
    def from_plain(values: dict[str, Any]) -> Job:
        """The opposite of `to_plain`."""
        return TypeAdapter(Job).validate_python(values)


class Trained(Method, Protocol):
    """A method whose result is a base."""

    def components(self) -> Components:
        """The averaged weights, to be saved."""
        ...


def finetune_worker(config: dict[str, Any]) -> None:
    """Fine-tune the base on the shards; rank 0 writes the teacher to `out`."""
    job = Job.from_plain(config)
    device = prepare(job.recipe.compute)

    def build(base: Components) -> Trained:
        """The method with its player."""
        recipe, precision = job.recipe, job.recipe.compute.precision
        return build_finetune(recipe.teacher, base, recipe.distill.size, recipe.seed, TorchEngine, device, precision)

    work(job, job.recipe.teacher.optim, device, build)


def distill_worker(config: dict[str, Any]) -> None:
    """Distill the teacher (the job's base) into a student; rank 0 writes it to `out`."""
    job = Job.from_plain(config)
    device = prepare(job.recipe.compute)

    def build(base: Components) -> Trained:
        """The method with its players."""
        recipe, compute = job.recipe, job.recipe.compute
        features, engine = load_features(recipe.distill.features), choose_engine(compute.zero_stage)
        return build_add(recipe.distill, base, features, recipe.seed, engine, device, compute.precision)

    work(job, job.recipe.distill.optim, device, build, job.recipe.distill.collapse_gap)


def prepare(compute: ComputeConfig) -> torch.device:
    """Set the threads of this worker and return its device."""
    torch.set_num_threads(compute.threads_per_worker)
    if not compute.gpus_per_worker:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, once imported, says on stdout that it looked
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            "compute.gpus_per_worker is set, but torch sees no GPU here; set it to 0 or install CUDA torch."
        )
    return torch.device("cuda", torch.cuda.current_device())


def work(
    job: Job,
    optim: OptimConfig,
    device: torch.device,
    build: Callable[[Components], Trained],
    collapse_gap: float = float("inf"),
) -> None:
    """Load, encode, train, save: the same for both methods."""
    recipe, world = job.recipe, World.current()
    base, shards = load_components(job.base, job.revision), Shards(job.shards)
    cache = encode_together(shards, base, job.latents, world, device)
    base.unet.register_to_config(sample_size=cache.latents([0]).shape[-1])  # the shards' size, for previews and export
    method = build(base)
    view = View(shards, cache, recipe.seed, optim.batch_size, world.rank, world.size, method.needs_pixels)
    feed, reporter = make_feed(view, recipe.compute), make_reporter(job, world)
    train(method, feed, optim, job.work, reporter, recipe.seed, world, recipe.prompts, collapse_gap)
    if world.leads:
        save_components(method.components(), job.out)
    world.barrier()


def encode_together(shards: Shards, base: Components, folder: Path, world: World, device: torch.device) -> LatentCache:
    """Fill the latent cache of the training split, each rank its share of the shards; what is there is kept."""
    cache = plan(shards, "train", base, folder)
    for module in (base.vae, base.text_encoder):
        module.to(device)
    if world.leads and not cache.uncond.exists():
        write(cache.uncond, captions_of(base, [""]))
    for number in range(world.rank, len(cache.files), world.size):
        if not cache.files[number].exists():
            write(cache.files[number], encode_shard(shards, cache, number, base, ENCODE_BATCH))
    world.barrier()
    return cache


def make_feed(view: View, compute: ComputeConfig) -> Feed:
    """Batches through Ray Data, or read in this process."""
    if compute.launcher == "inline":
        return LocalFeed(view)
    from naruto_add.on_ray.data import RayFeed

    return RayFeed(view)


def make_reporter(job: Job, world: World) -> Reporter:
    """Rank 0 writes the files; in this process it also draws the progress (elsewhere the driver does)."""
    if not world.leads:
        return Reporter()
    console = [console_sink(job.work.name.partition("-")[0])] if job.recipe.compute.launcher == "inline" else []
    return Reporter([*file_sinks(job.work), *console])

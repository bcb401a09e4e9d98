"""What a training worker does, from a plain description: build, train, save. Runs in a Ray worker or in this process.

Nothing of Ray is imported here unless the recipe asks for it, so that `inline` training starts at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import UNet2DConditionModel

from naruto_add.artifact import write_json
from naruto_add.config import ComputeConfig, OptimConfig
from naruto_add.data.batch import Feed
from naruto_add.data.cache import LatentCache
from naruto_add.data.feed import LocalFeed
from naruto_add.data.latents import captions_of, encode_shard, plan, write
from naruto_add.data.shards import Shards
from naruto_add.data.view import View
from naruto_add.distill import Distillation, Setup, build_distillation
from naruto_add.distill.synthetic import draw_together
from naruto_add.errors import UserError
from naruto_add.finetune import build_finetune
from naruto_add.models.bfloat16 import choose, suit_cpu
from naruto_add.models.features import load_features
from naruto_add.models.load import Components, load_components, save_components
from naruto_add.on_ray.job import Job
from naruto_add.on_ray.train import PROFILE
from naruto_add.training.engine import TorchEngine, choose_engine
from naruto_add.training.graphs import replay
from naruto_add.training.loop import train
from naruto_add.training.method import Method, Probe
from naruto_add.training.pace import total_images
from naruto_add.training.telemetry import Reporter, console_sink, file_sinks
from naruto_add.training.timeline import Timeline
from naruto_add.training.tracking import trackers
from naruto_add.training.world import World

ENCODE_BATCH = 16
READ_AHEAD = 4
"""Batches that an inline worker with a GPU reads beforehand."""
LOADING, ENCODING, BUILDING, SAVING = "loading models", "encoding images", "building players", "saving"
FEATURES = "features"
"""Beside the latent cache: what the eyes of a probe have seen of real images."""
OTHER_CAPTIONS = 256
"""Training captions that mismatched pairs are drawn from."""


class Trained(Method, Protocol):
    """A method whose result is a base."""

    def components(self) -> Components:
        """The averaged weights, to be saved."""
        ...


def finetune_worker(config: dict[str, Any]) -> None:
    """Fine-tune the base on the shards; rank 0 writes the teacher to `out`."""
    job = Job.from_plain(config)
    device = prepare(job.recipe.compute)

    def build(base: Components, shards: Shards) -> Trained:
        """The method with its player."""
        recipe, precision = job.recipe, choose(job.recipe.compute.precision, device)
        return build_finetune(recipe.teacher, base, recipe.distill.size, recipe.seed, TorchEngine, device, precision)

    work(job, job.recipe.teacher.optim, device, build)


def distill_worker(config: dict[str, Any]) -> None:
    """Distill the teacher (the job's base) into a student; rank 0 writes it to `out`."""
    job = Job.from_plain(config)
    device, distill = prepare(job.recipe.compute), job.recipe.distill

    def build(base: Components, shards: Shards) -> Trained:
        """The method with its players."""
        recipe, compute = job.recipe, job.recipe.compute
        features = load_features(distill.features) if distill.method == "add" else None
        captions = shards.captions("train", range(min(OTHER_CAPTIONS, shards.count("train"))))
        engine = choose_engine(compute.zero_stage)
        precision = choose(compute.precision, device)
        return build_distillation(Setup(distill, base, features, recipe.seed, engine, device, precision, captions))

    def probe(method: Trained, shards: Shards) -> Probe | None:
        """What measures the student on its way, where the recipe asks for it."""
        if not distill.measure_images:
            return None
        from naruto_add.evaluation.probe import open_probe  # a second's import that few recipes need

        assert isinstance(method, Distillation)
        kept = job.latents.parent / FEATURES
        return open_probe(job.recipe, shards, method.draw, device, job.work, kept)

    def drawn(base: Components, cache: LatentCache) -> LatentCache:
        """The teacher's own latents, where the recipe asks for them."""
        if not distill.synthetic_steps:
            return cache
        base.unet.to(device)
        return draw_together(distill, base, cache, job.recipe.seed, ENCODE_BATCH, World.current())

    work(job, distill.optim, device, build, distill.collapse_gap, drawn, probe)


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
    build: Callable[[Components, Shards], Trained],
    collapse_gap: float = float("inf"),
    latents: Callable[[Components, LatentCache], LatentCache] = lambda _, cache: cache,
    probe: Callable[[Trained, Shards], Probe | None] = lambda *_: None,
) -> None:
    """Load, encode, train, save: the same for both methods. `latents` may put others in the real ones' place."""
    recipe, world, timeline, began = job.recipe, World.current(), Timeline(), time.time()
    timeline.turn_to(LOADING)
    base, shards = load_components(job.base, job.revision), Shards(job.shards)
    if device.type == "cpu" and choose(recipe.compute.precision, device) == "bf16":
        suit_cpu(base.unet)
    timeline.turn_to(ENCODING)
    cache = encode_together(shards, base, job.latents, world, device)
    base.unet.register_to_config(sample_size=cache.latents([0]).shape[-1])  # the shards' size, for previews and export
    cache = latents(base, cache)
    timeline.turn_to(BUILDING)
    method = build(base, shards)
    if recipe.compute.cuda_graphs:
        replay_unets(method, optim)
    view = View(shards, cache, recipe.seed, optim.batch_size, world.rank, world.size, method.needs_pixels)
    feed, reporter = make_feed(view, recipe.compute, device), make_reporter(job, world, timeline)
    if device.type == "cpu":
        watch(timeline, method)
    state = train(
        method, feed, optim, job.work, reporter, recipe.seed, world, recipe.prompts, collapse_gap, job.until,
        probe(method, shards) if world.leads else None,
    )  # fmt: skip
    if world.leads and job.out is not None and state.images == total_images(optim):
        timeline.turn_to(SAVING)
        save_components(method.components(), job.out)
        write_json(job.work / PROFILE, {"began": began, "seconds": timeline.table()})
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


def replay_unets(method: Method, optim: OptimConfig) -> None:
    """Have the method's UNets replay their passes, those in ZeRO engines excepted."""
    sharded = {p.module for p in method.players.values() if not isinstance(p.engine, TorchEngine)}
    for module in method.parts.values():
        if isinstance(module, UNet2DConditionModel) and module not in sharded and not optim.gradient_checkpointing:
            replay(module, learns=optim.accumulation == 1)


def make_feed(view: View, compute: ComputeConfig, device: torch.device) -> Feed:
    """Batches through Ray Data, or read in this process."""
    if compute.launcher == "inline":
        return LocalFeed(view, READ_AHEAD if device.type == "cuda" else 0)
    from naruto_add.on_ray.feed import RayFeed

    return RayFeed(view)


def watch(timeline: Timeline, method: Method) -> None:
    """Have the timeline tell the method's networks, updates and exchanges apart."""
    for name, module in method.parts.items():
        timeline.watch(name, module)
    for player in method.players.values():
        player.timed_by(timeline)


def make_reporter(job: Job, world: World, timeline: Timeline) -> Reporter:
    """Rank 0 writes the files and tells the trackers; it draws the progress where no driver does (inline)."""
    if not world.leads:
        return Reporter(timeline=timeline)
    console = [console_sink(job.work.name.partition("-")[0])] if job.recipe.compute.launcher == "inline" else []
    return Reporter([*file_sinks(job.work), *trackers(job.recipe, job.work), *console], timeline)

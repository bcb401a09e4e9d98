"""Synthetic training latents: what the guided teacher draws for the training captions, in place of the real images.

LADD (arXiv 2403.12015) finds that a distillation needs no real images where the teacher draws its own,
and needs no distillation term then. They are drawn once, into files beside the latent cache.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from naruto_add import rng
from naruto_add.artifact import sha256_text
from naruto_add.config import DistillConfig
from naruto_add.data.cache import LatentCache
from naruto_add.data.latents import Tensors, chunks, write
from naruto_add.diffusion.samplers import sample_teacher
from naruto_add.models.features import state_sha256
from naruto_add.models.load import Components, latent_shape
from naruto_add.training.world import World


def draw_together(
    config: DistillConfig, teacher: Components, cache: LatentCache, seed: int, batch_size: int, world: World
) -> LatentCache:
    """A cache of the same captions with the teacher's latents, each rank its share; what is there already is kept.

    The teacher stays on the device where it is; `synthetic_steps` of DPM-Solver++ at `teacher_guidance`.
    """
    key = f"{state_sha256(teacher.unet)}/{config.synthetic_steps}/{config.teacher_guidance}/{seed}"
    drawn = replace(cache, files=tuple(named(file, key) for file in cache.files))
    for number in range(world.rank, len(drawn.files), world.size):
        if not drawn.files[number].exists():
            write(drawn.files[number], draw_shard(config, teacher, cache, number, seed, batch_size))
    world.barrier()
    return drawn


def named(file: Path, key: str) -> Path:
    """Where the drawn latents for one file of the real cache lie; the name says what they are made of."""
    return file.with_name(f"drawn-{file.stem}-{sha256_text(key)[:16]}.safetensors")


def draw_shard(
    config: DistillConfig, teacher: Components, cache: LatentCache, number: int, seed: int, batch_size: int
) -> Tensors:
    """The teacher's latents for one file's captions, in order, with those captions; an image's noise is its id's."""
    ids = range((0, *cache.ends)[number], cache.ends[number])
    device, shape = teacher.unet.device, latent_shape(teacher.unet)
    latents = []
    for chunk in chunks(ids, batch_size):
        x_T = rng.normal(shape, seed, "synthetic-x_T", chunk).to(device)
        x0 = sample_teacher(
            teacher.unet, teacher.scheduler_config, x_T, cache.text(chunk).to(device), cache.uncond_text.to(device),
            config.synthetic_steps, config.teacher_guidance,
        )  # fmt: skip
        latents.append(x0.float().cpu())
    captions = {name: torch.from_numpy(cache.rows(name, ids)) for name in ("text", "pooled")}
    return {"latents": torch.cat(latents).contiguous(), **captions}

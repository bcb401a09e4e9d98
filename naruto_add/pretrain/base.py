"""Training of the `mini` base's UNet on cached latents and text, full and compact path in turns.

Half of the steps go through the compact student's path of the same weights (`student.tie`), as SnapFusion's robust
training does with random blocks: the later surgery then starts from a model that already draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from naruto_add.data.order import ids_at
from naruto_add.diffusion.schedule import Schedule
from naruto_add.models.bfloat16 import suit_cpu
from naruto_add.models.student import tie
from naruto_add.pretrain import checkpoint
from naruto_add.pretrain.muon import muon_and_adam
from naruto_add.rng import integers, normal, uniform
from naruto_add.training.engine import autocast


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """Pace of the pre-training, in images seen."""

    images: int
    batch_size: int = 32
    learning_rate: float = 2.5e-3
    """Muon's, for the matrices; `adam_learning_rate` for the rest."""
    adam_learning_rate: float = 4e-4
    warmup_images: int = 3200
    text_dropout: float = 0.1
    compact_share: float = 0.25
    ema_decay: float = 0.998
    checkpoint_images: int = 6400
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: int = 0


@dataclass(frozen=True)
class Corpus:
    """What the base learns from: scaled latents (N, C, h, w), captions as the text encoder reads them (N, L, D), and
    the empty caption (L, D); text in half precision.
    """

    latents: Tensor
    text: Tensor
    empty: Tensor


def pace(config: BaseConfig, seen: int) -> float:
    """The share of the learning rates: warm-up, level, and down to 1 % over the last 40 %.

    Until the descent begins, the number of images may still be changed.
    """
    return min((seen + config.batch_size) / config.warmup_images, 1.0, 0.01 + (1 - seen / config.images) / 0.4)


def train_base(
    unet: UNet2DConditionModel,
    schedule: Schedule,
    corpus: Corpus,
    config: BaseConfig,
    folder: Path,
    report: Callable[[dict[str, float]], None],
) -> None:
    """Train in place, ending with the averaged weights; the newest checkpoint in `folder` resumes."""
    paths = {"full": suit_cpu(unet), "compact": suit_cpu(tie(unet, "base"))}
    unet.train()
    optimizers = muon_and_adam(unet, config.learning_rate, config.adam_learning_rate)
    rates = [config.learning_rate, config.adam_learning_rate]
    ema = EMAModel(unet.parameters(), decay=config.ema_decay)
    seen = checkpoint.load(folder, unet, optimizers, ema)
    started = time.perf_counter()
    while seen < config.images:
        positions = list(range(seen, seen + config.batch_size))
        path = "compact" if uniform(config.seed, "base/path", [seen]).item() < config.compact_share else "full"
        loss = denoising_loss(paths[path], schedule, corpus, config, positions)
        unet.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * pace(config, seen)
            optimizer.step()
        ema.step(unet.parameters())
        seen += config.batch_size
        if seen // config.batch_size % 20 == 0:
            seconds = time.perf_counter() - started
            report({"images": seen, "seconds": seconds, f"loss/{path}": loss.item(), "grad_norm": norm.item()})
        if seen % config.checkpoint_images < config.batch_size or seen >= config.images:
            checkpoint.save(folder, unet, optimizers, ema, seen)
    ema.copy_to(unet.parameters())


def denoising_loss(
    unet: UNet2DConditionModel,
    schedule: Schedule,
    corpus: Corpus,
    config: BaseConfig,
    positions: list[int],
) -> Tensor:
    """Mean squared error of the model's output at uniform timesteps; every draw is addressed by its position."""
    ids = ids_at(config.seed, positions[0], positions[-1] + 1, len(corpus.latents))
    x0 = corpus.latents[ids].to(memory_format=torch.channels_last)
    t = integers(schedule.num_timesteps, config.seed, "base/t", positions)
    eps = normal(x0.shape[1:], config.seed, "base/eps", positions)
    dropped = uniform(config.seed, "base/dropout", positions) < config.text_dropout
    text = torch.where(dropped[:, None, None], corpus.empty, corpus.text[ids]).float()
    with autocast(x0.device, config.precision):
        output = unet(schedule.add_noise(x0, eps, t), t, text).sample
    return (output.float() - schedule.target(x0, eps, t)).square().mean()

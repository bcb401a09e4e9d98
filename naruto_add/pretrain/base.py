"""Training of the `mini` base: UNet and text encoder together, on cached latents, full and compact path in turns.

Half of the steps go through the compact student's path of the same weights (`student.tie`), as SnapFusion's robust
training does with random blocks: the later surgery then starts from a model that already draws.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from naruto_add.data.order import ids_at
from naruto_add.diffusion.schedule import Schedule
from naruto_add.models.student import tie
from naruto_add.pretrain import checkpoint
from naruto_add.rng import integers, normal, uniform


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """Pace of the pre-training, in images seen."""

    images: int
    batch_size: int = 8
    learning_rate: float = 5e-4
    text_dropout: float = 0.1
    compact_share: float = 0.3
    ema_decay: float = 0.9985
    checkpoint_images: int = 3200
    seed: int = 0


@dataclass(frozen=True)
class Corpus:
    """What the base learns from: scaled latents (N, C, h, w) and tokens (N, L), and the empty caption's tokens (L,)."""

    latents: Tensor
    tokens: Tensor
    empty: Tensor


def learning_rate(config: BaseConfig, seen: int) -> float:
    """Linear warm-up over 2 % of the images, then a half cosine to 2 % of the peak."""
    share = seen / config.images
    return config.learning_rate * min(share / 0.02 + 0.01, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def train_base(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    schedule: Schedule,
    corpus: Corpus,
    config: BaseConfig,
    folder: Path,
    report: Callable[[dict[str, float]], None],
) -> None:
    """Train both modules in place, ending with their averaged weights; the newest checkpoint in `folder` resumes."""
    paths = {"full": unet, "compact": tie(unet, "base")}
    both = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder}).train()
    optimizer = torch.optim.AdamW(both.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    ema = EMAModel(both.parameters(), decay=config.ema_decay)
    seen = checkpoint.load(folder, both, [optimizer], ema)
    started = time.perf_counter()
    while seen < config.images:
        positions = list(range(seen, seen + config.batch_size))
        path = "compact" if uniform(config.seed, "base/path", [seen]).item() < config.compact_share else "full"
        loss = denoising_loss(paths[path], text_encoder, schedule, corpus, config, positions)
        optimizer.param_groups[0]["lr"] = learning_rate(config, seen)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        ema.step(both.parameters())
        seen += config.batch_size
        if seen // config.batch_size % 100 == 0:
            seconds = time.perf_counter() - started
            report({"images": seen, "seconds": seconds, f"loss/{path}": loss.item(), "grad_norm": norm.item()})
        if seen % config.checkpoint_images < config.batch_size or seen >= config.images:
            checkpoint.save(folder, both, [optimizer], ema, seen)
    ema.copy_to(both.parameters())


def denoising_loss(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
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
    tokens = torch.where(dropped[:, None], corpus.empty, corpus.tokens[ids])
    text = text_encoder(tokens).last_hidden_state
    output = unet(schedule.add_noise(x0, eps, t), t, text).sample
    return (output - schedule.target(x0, eps, t)).square().mean()

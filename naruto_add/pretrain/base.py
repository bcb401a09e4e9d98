"""Training of the `mini` base's UNet on cached latents and text, full and compact path in turns.

Half of the steps go through the compact student's path of the same weights (`student.tie`), as SnapFusion's robust
training does with random blocks: the later surgery then starts from a model that already draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from naruto_add.pretrain.replay import recorded, set_rates
from naruto_add.rng import address, uniform
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
    log_updates: int = 20
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
    """Train in place, ending with the averaged weights; the newest checkpoint in `folder` resumes.

    The UNet is where the corpus is. Every draw is addressed by the images seen before its update.
    """
    generator = torch.Generator(corpus.latents.device)
    ids = torch.zeros(config.batch_size, dtype=torch.int64, device=generator.device)
    optimizers = muon_and_adam(unet)
    rates = [config.learning_rate, config.adam_learning_rate]
    ema = EMAModel(unet.parameters(), decay=config.ema_decay, foreach=True)
    seen = checkpoint.load(folder, unet, optimizers, ema)
    updates = {
        name: recorded(
            partial(update, unet, optimizers, partial(denoising_loss, path, schedule, corpus, config, ids, generator)),
            unet, optimizers, generator,
        )
        for name, path in both_paths(unet, generator.device).items()
    }  # fmt: skip
    started = time.perf_counter()
    while seen < config.images:
        name = "compact" if uniform(config.seed, "base/path", [seen]).item() < config.compact_share else "full"
        ids.copy_(torch.tensor(ids_at(config.seed, seen, seen + config.batch_size, len(corpus.latents))))
        generator.manual_seed(address(config.seed, "base", seen))
        set_rates(optimizers, [rate * pace(config, seen) for rate in rates])
        metrics = updates[name]()
        ema.step(unet.parameters())
        seen += config.batch_size
        if seen // config.batch_size % config.log_updates == 0:
            seconds = time.perf_counter() - started
            loss, norm = metrics["loss"].item(), metrics["grad_norm"].item()
            report({"images": seen, "seconds": seconds, f"loss/{name}": loss, "grad_norm": norm})
        if seen % config.checkpoint_images < config.batch_size or seen >= config.images:
            checkpoint.save(folder, unet, optimizers, ema, seen)
    ema.copy_to(unet.parameters())


def both_paths(unet: UNet2DConditionModel, device: torch.device) -> dict[str, UNet2DConditionModel]:
    """The whole UNet and the compact student's way through it, in training mode, computing as suits the device."""
    paths = {"full": unet.train(), "compact": tie(unet, "base")}
    return {name: suit_cpu(path) for name, path in paths.items()} if device.type == "cpu" else paths


def update(
    unet: UNet2DConditionModel, optimizers: Sequence[torch.optim.Optimizer], loss_of: Callable[[], Tensor]
) -> dict[str, Tensor]:
    """One update of all weights that the loss depends on; returns the loss and the norm of its gradient."""
    unet.zero_grad(set_to_none=True)
    loss = loss_of()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return {"loss": loss.detach(), "grad_norm": norm}


def denoising_loss(
    unet: UNet2DConditionModel,
    schedule: Schedule,
    corpus: Corpus,
    config: BaseConfig,
    ids: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Mean squared error of the model's output at uniform timesteps, on the images `ids` of the corpus."""
    x0 = corpus.latents[ids].to(memory_format=torch.channels_last)
    t = torch.randint(schedule.num_timesteps, ids.shape, generator=generator, device=ids.device)
    eps = torch.randn(x0.shape, generator=generator, device=ids.device).to(memory_format=torch.channels_last)
    dropped = torch.rand(ids.shape, generator=generator, device=ids.device) < config.text_dropout
    text = torch.where(dropped[:, None, None], corpus.empty, corpus.text[ids]).float()
    with autocast(x0.device, config.precision):
        output = unet(schedule.add_noise(x0, eps, t), t, text).sample
    return (output.float() - schedule.target(x0, eps, t)).square().mean()

"""Training of the `mini` autoencoder: L1 and perceptual distance on crops, latents kept near a standard normal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from diffusers.training_utils import EMAModel
from torch import Tensor

from naruto_add.diffusion import losses
from naruto_add.models.features import FeatureNet
from naruto_add.pretrain import checkpoint
from naruto_add.pretrain.muon import muon_and_adam
from naruto_add.rng import address, integers
from naruto_add.training.engine import autocast


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """`images` counts crops; one crop of 64 px costs a quarter of an image. Small batches: steps count, not images."""

    images: int
    part: Literal["whole", "decoder"] = "whole"
    """First the whole by L1 alone; then, the encoder frozen (latents may be cached), the decoder by both distances."""
    batch_size: int = 8
    crop_px: int = 64
    learning_rate: float = 1.2e-3
    l1_weight: float = 3.0
    perceptual_weight: float = 0.0
    latent_weight: float = 1e-2
    latent_noise: float = 0.1
    halved_share: float = 0.2
    """Share of the batches in which latents and pixels are both halved, so that latents behave as small pictures do:
    EQ-VAE (Kouzelis et al. 2025). Without it their fine scales are noise to the UNet."""
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpoint_images: int = 4000
    seed: int = 0


def latent_penalty(latents: Tensor) -> Tensor:
    """KL of a Gaussian with the batch's mean and variance per channel from the standard normal, in nats per channel."""
    mean, variance = latents.mean(dim=(0, 2, 3)), latents.var(dim=(0, 2, 3))
    return 0.5 * (mean.square() + variance - 1 - variance.clamp_min(1e-6).log()).mean()


def crops(images: Tensor, ids: Tensor, config: AutoencoderConfig, positions: list[int]) -> Tensor:
    """Random crops of uint8 images (N, 3, H, W) as pixels in [-1, 1]."""
    room = images.shape[-1] - config.crop_px + 1
    tops = integers(room, config.seed, "autoencoder/top", positions).tolist()
    lefts = integers(room, config.seed, "autoencoder/left", positions).tolist()
    cut = [
        images[i, :, y : y + config.crop_px, x : x + config.crop_px] for i, y, x in zip(ids, tops, lefts, strict=True)
    ]
    return torch.stack(cut).float() / 127.5 - 1


def learning_rate(config: AutoencoderConfig, seen: int) -> float:
    """Linear warm-up over 2 % of the images, then a half cosine to 2 % of the peak."""
    share = seen / config.images
    return config.learning_rate * min(share / 0.02, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def train_autoencoder(
    model: AutoencoderTiny,
    features: FeatureNet,
    images: Tensor,
    config: AutoencoderConfig,
    folder: Path,
    report: Callable[[dict[str, float]], None],
) -> AutoencoderTiny:
    """Train on uint8 images (N, 3, H, W) and return the model with averaged weights; the newest checkpoint resumes."""
    model.encoder.requires_grad_(config.part == "whole")
    trained = model if config.part == "whole" else model.decoder
    optimizers = muon_and_adam(trained, config.learning_rate, config.learning_rate)
    ema = EMAModel(model.parameters(), decay=0.999)
    seen = checkpoint.load(folder, model, optimizers, ema)
    started = time.perf_counter()
    while seen < config.images:
        positions = list(range(seen, seen + config.batch_size))
        ids = integers(len(images), config.seed, "autoencoder/id", positions)
        pixels = crops(images, ids, config, positions).to(memory_format=torch.channels_last)
        metrics = step(model, features, pixels, optimizers, learning_rate(config, seen), config, seen)
        ema.step(model.parameters())
        seen += config.batch_size
        if seen // config.batch_size % 100 == 0:
            report({"images": seen, "seconds": time.perf_counter() - started, **metrics})
        if seen % config.checkpoint_images < config.batch_size or seen >= config.images:
            checkpoint.save(folder, model, optimizers, ema, seen)
    ema.copy_to(model.parameters())
    return model.requires_grad_(True)


def encoded(model: AutoencoderTiny, pixels: Tensor, config: AutoencoderConfig) -> Tensor:
    """Latents, in float32."""
    with autocast(pixels.device, config.precision):
        latents: Tensor = model.encode(pixels).latents
    return latents.float()


def step(
    model: AutoencoderTiny,
    features: FeatureNet,
    pixels: Tensor,
    optimizers: Sequence[torch.optim.Optimizer],
    rate: float,
    config: AutoencoderConfig,
    seen: int,
) -> dict[str, float]:
    """One update; the decoder sees slightly noisy latents, as it will from a diffusion model."""
    generator = torch.Generator().manual_seed(address(config.seed, "autoencoder/noise", seen))
    latents = encoded(model, pixels, config)
    penalty, std = latent_penalty(latents), latents.std().item()
    noise = torch.randn(latents.shape, generator=generator)
    if config.part == "whole" and torch.rand((), generator=generator) < config.halved_share:
        latents, noise, pixels = (F.interpolate(x, scale_factor=0.5, mode="area") for x in (latents, noise, pixels))
    with autocast(pixels.device, config.precision):
        decoded = model.decode(latents + config.latent_noise * noise).sample.float()
    l1 = F.l1_loss(decoded, pixels)
    perceptual = (
        losses.perceptual(features(decoded), features(pixels)).mean() if config.perceptual_weight else torch.zeros(())
    )
    loss = config.l1_weight * l1 + config.perceptual_weight * perceptual + config.latent_weight * penalty
    model.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return {"l1": l1.item(), "perceptual": perceptual.item(), "penalty": penalty.item(), "std": std}

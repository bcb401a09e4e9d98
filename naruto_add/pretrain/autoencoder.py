"""Training of the `mini` autoencoder: L1 and perceptual distance on crops, latents kept near a standard normal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from naruto_add.pretrain.replay import recorded, set_rates
from naruto_add.rng import address, uniform
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


def crops(images: Tensor, config: AutoencoderConfig, generator: torch.Generator) -> Tensor:
    """Random crops of uint8 images (N, 3, H, W) as pixels in [-1, 1], channels last."""
    span = torch.arange(config.crop_px, device=images.device)

    def drawn(high: int) -> Tensor:
        return torch.randint(high, (config.batch_size, 1, 1), generator=generator, device=images.device)

    room = images.shape[-1] - config.crop_px + 1
    ids, rows, columns = drawn(len(images)), drawn(room) + span[:, None], drawn(room) + span
    return images[ids, :, rows, columns].permute(0, 3, 1, 2).float() / 127.5 - 1


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
    """Train on uint8 images (N, 3, H, W) and return the model with averaged weights; the newest checkpoint resumes.

    Model and features are where the images are. Every draw is addressed by the crops seen before its update.
    """
    generator = torch.Generator(images.device)
    model.encoder.requires_grad_(config.part == "whole")
    optimizers = muon_and_adam(model if config.part == "whole" else model.decoder)
    ema = EMAModel(model.parameters(), decay=0.999, foreach=True)
    seen = checkpoint.load(folder, model, optimizers, ema)
    updates = {
        halved: recorded(
            partial(update, model, features, images, optimizers, config, generator, halved),
            model, optimizers, generator,
        )
        for halved in ((False, True) if config.part == "whole" else (False,))
    }  # fmt: skip
    started = time.perf_counter()
    while seen < config.images:
        halved = len(updates) > 1 and uniform(config.seed, "autoencoder/halved", [seen]).item() < config.halved_share
        generator.manual_seed(address(config.seed, "autoencoder", seen))
        set_rates(optimizers, [learning_rate(config, seen)] * len(optimizers))
        metrics = updates[halved]()
        ema.step(model.parameters())
        seen += config.batch_size
        if seen // config.batch_size % 100 == 0:
            numbers = {name: value.item() for name, value in metrics.items()}
            report({"images": seen, "seconds": time.perf_counter() - started, **numbers})
        if seen % config.checkpoint_images < config.batch_size or seen >= config.images:
            checkpoint.save(folder, model, optimizers, ema, seen)
    ema.copy_to(model.parameters())
    return model.requires_grad_(True)


def update(
    model: AutoencoderTiny,
    features: FeatureNet,
    images: Tensor,
    optimizers: Sequence[torch.optim.Optimizer],
    config: AutoencoderConfig,
    generator: torch.Generator,
    halved: bool,
) -> dict[str, Tensor]:
    """One update; the decoder sees slightly noisy latents, as it will from a diffusion model."""
    model.zero_grad(set_to_none=True)
    pixels = crops(images, config, generator)
    with autocast(pixels.device, config.precision):
        latents = model.encode(pixels).latents.float()
    penalty = latent_penalty(latents)
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    seen = latents
    if halved:
        seen, noise, pixels = (F.interpolate(x, scale_factor=0.5, mode="area") for x in (latents, noise, pixels))
    with autocast(pixels.device, config.precision):
        decoded = model.decode(seen + config.latent_noise * noise).sample.float()
    l1, perceptual = F.l1_loss(decoded, pixels), torch.zeros((), device=pixels.device)
    if config.perceptual_weight:
        perceptual = losses.perceptual(features(decoded), features(pixels)).mean()
    loss = config.l1_weight * l1 + config.perceptual_weight * perceptual + config.latent_weight * penalty
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    terms = {"l1": l1, "perceptual": perceptual, "penalty": penalty, "std": latents.std()}
    return {name: term.detach() for name, term in terms.items()}

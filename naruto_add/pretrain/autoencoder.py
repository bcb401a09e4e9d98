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
from torch import Tensor, nn

from naruto_add.models.features import FeatureNet
from naruto_add.pretrain import checkpoint
from naruto_add.rng import address, integers


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """`images` counts crops; one crop of 64 px costs a quarter of an image. Small batches: steps count, not images."""

    images: int
    part: Literal["whole", "decoder"] = "whole"
    """First the whole by L1 alone; then, the encoder frozen (latents may be cached), the decoder by both distances."""
    batch_size: int = 8
    crop_px: int = 64
    learning_rate: float = 4e-3
    l1_weight: float = 3.0
    perceptual_weight: float = 0.0
    latent_weight: float = 1e-3
    latent_noise: float = 0.05
    checkpoint_images: int = 4000
    seed: int = 0


def perceptual_distance(features: FeatureNet, a: Tensor, b: Tensor) -> Tensor:
    """Mean over levels of the squared distance between unit-length feature vectors, as LPIPS without its weights."""
    levels = zip(features(a), features(b), strict=True)
    return torch.stack(
        [(F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean() for x, y in levels]
    ).mean()


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


class Muon(torch.optim.Muon):
    """Muon (Jordan et al. 2024) for convolutions: each weight is orthogonalised as a matrix (out, h * w * in).

    The autoencoder has no norm layers; with Adam it is still blurry where Muon has long become sharp.
    """

    def __init__(self, model: nn.Module, rate: float) -> None:
        self.weights = [p for p in model.parameters() if p.ndim == 4 and p.requires_grad]
        flat = [nn.Parameter(as_matrix(weight.data)) for weight in self.weights]
        super().__init__(flat, lr=rate, momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    def step(self) -> None:  # type: ignore[override]
        """One update from the gradients of the convolutions; the matrices share their memory."""
        for flat, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            assert weight.grad is not None
            flat.grad = as_matrix(weight.grad)
        super().step()


def as_matrix(weight: Tensor) -> Tensor:
    """A channels-last convolution's weight (out, in, h, w) as (out, h * w * in), without a copy."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def adam_for_biases(model: nn.Module, rate: float) -> torch.optim.Adam:
    """Adam for what is not a matrix."""
    return torch.optim.Adam(
        [p for p in model.parameters() if p.ndim != 4 and p.requires_grad], lr=rate, betas=(0.9, 0.99)
    )


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
    optimizers = [Muon(model, config.learning_rate), adam_for_biases(model, config.learning_rate)]
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
    latents = model.encode(pixels).latents
    noise = torch.randn(latents.shape, generator=generator)
    decoded = model.decode(latents + config.latent_noise * noise).sample
    l1 = F.l1_loss(decoded, pixels)
    perceptual = perceptual_distance(features, decoded, pixels) if config.perceptual_weight else torch.zeros(())
    penalty = latent_penalty(latents)
    loss = config.l1_weight * l1 + config.perceptual_weight * perceptual + config.latent_weight * penalty
    model.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return {"l1": l1.item(), "perceptual": perceptual.item(), "penalty": penalty.item(), "std": latents.std().item()}

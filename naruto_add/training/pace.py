"""How fast to learn and for how long: pure functions of the images seen."""

from __future__ import annotations

import math

from naruto_add.config import OptimConfig


def total_images(optim: OptimConfig) -> int:
    """Images seen in all: `optim.images`, rounded up to whole steps."""
    return -(-optim.images // optim.batch_size) * optim.batch_size


def pace(optim: OptimConfig, images: int) -> float:
    """The share of the peak learning rate for the step after which `images` have been seen.

    Rises linearly to 1 over `warmup_images`, then falls as a half cosine to `final_lr` (Loshchilov & Hutter 2017,
    equation 5, without restarts).
    """
    if images < optim.warmup_images:
        return images / optim.warmup_images
    span = max(1, total_images(optim) - optim.warmup_images)
    progress = min(1.0, (images - optim.warmup_images) / span)
    return optim.final_lr + (1 - optim.final_lr) * (1 + math.cos(math.pi * progress)) / 2


def learning_rate(optim: OptimConfig, images: int, peak: float | None = None) -> float:
    """The learning rate for the step after which `images` have been seen; `peak` stands in for the configured one."""
    return pace(optim, images) * (optim.learning_rate if peak is None else peak)


def ema_decay(optim: OptimConfig) -> float:
    """The share of the moving average that one step keeps: a half-life of `ema_images`; 0 where there is none."""
    return 0.5 ** (optim.batch_size / optim.ema_images) if optim.ema_images else 0.0


def crossed(interval: int, before: int, after: int) -> bool:
    """Whether going from `before` to `after` images reaches or passes a multiple of `interval`."""
    return after // interval > before // interval

"""Discriminator heads on frozen features, after StyleGAN-T (Sauer et al. 2023) and ADD section 3.2, written anew.

One light head for each level of the feature network: a 1x1 convolution, a residual 3x3 one, and a projection onto a
map of the condition (Miyato & Koyama 2018). GroupNorm stands in for StyleGAN-T's BatchNormLocal, so that an image's
logits do not depend on its batch and R1 is exact. Weights are spectrally normalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTH = 64  # channels inside a head
CONDITION_MAP = 64  # size of the projected condition (cmap_dim of StyleGAN-T)
NORM_GROUPS = 8


class Block(nn.Module):
    """Spectrally normalised convolution, GroupNorm, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = spectral_norm(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2))
        self.norm = nn.GroupNorm(NORM_GROUPS, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels, h, w)."""
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class Head(nn.Module):
    """The discriminator of one feature level; `condition_size` 0: unconditional."""

    def __init__(self, channels: int, condition_size: int) -> None:
        super().__init__()
        self.reduce = Block(channels, WIDTH, kernel=1)
        self.mix = Block(WIDTH, WIDTH, kernel=3)
        self.score = spectral_norm(nn.Conv2d(WIDTH, CONDITION_MAP if condition_size else 1, kernel_size=1))
        self.project = nn.Linear(condition_size, CONDITION_MAP) if condition_size else None

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        """Logits (B, h*w) of features (B, C, h, w), given the condition (B, condition_size)."""
        x = self.reduce(features)
        scores = self.score((x + self.mix(x)) / math.sqrt(2)).flatten(2)
        if self.project is None or condition is None:
            return scores.squeeze(1)
        return torch.einsum("bcn,bc->bn", scores, self.project(condition)) / math.sqrt(CONDITION_MAP)


class Heads(nn.Module):
    """One head for each of the feature network's levels."""

    def __init__(self, channels: Sequence[int], condition_size: int = 0) -> None:
        super().__init__()
        self.condition_size = condition_size
        self.heads = nn.ModuleList(Head(width, condition_size) for width in channels)

    def forward(self, features: Sequence[Tensor], condition: Tensor | None = None) -> list[Tensor]:
        """One tensor of logits (B, positions) for each level; `condition` is (B, condition_size) or None."""
        assert (condition is None) == (self.condition_size == 0), "condition and condition_size disagree"
        return [head(level, condition) for head, level in zip(self.heads, features, strict=True)]


class Panel(nn.Module):
    """The heads of several eyes (frozen networks that look at an image, each in its way), as one module."""

    def __init__(self, eyes: Sequence[tuple[Sequence[int], int]]) -> None:
        super().__init__()
        self.eyes = nn.ModuleList(Heads(channels, condition_size) for channels, condition_size in eyes)
        self.levels = [len(channels) for channels, _ in eyes]

    def forward(self, maps: Sequence[Sequence[Tensor]], conditions: Sequence[Tensor | None]) -> list[Tensor]:
        """The logits (B, positions) of every eye's levels, one after the other."""
        seen = zip(self.eyes, maps, conditions, strict=True)
        return [logits for heads, levels, condition in seen for logits in heads(levels, condition)]

    def names(self) -> list[str]:
        """The submodules that are one head each, in the order of the logits."""
        return [f"eyes.{i}.heads.{k}" for i, levels in enumerate(self.levels) for k in range(levels)]


def condition_of(
    text: Tensor | None, image: Tensor | None, image_known: Tensor, noise: Tensor | None = None
) -> Tensor | None:
    """The heads' condition (B, P + F + N): pooled text (B, P), pooled features of x0 (B, F) and an embedding of the
    noise that the discriminator looks through (B, N), each brought to unit scale.

    `image_known` (B,) is False where the student saw nothing of x0: it could not know it there, so c_img is 0, for the
    real image and the student's alike. None if nothing is asked for.
    """
    parts = [F.layer_norm(part, part.shape[1:]) for part in (text, noise) if part is not None]
    if image is not None:
        parts.append(F.layer_norm(image, image.shape[1:]) * image_known.to(image)[:, None])
    return torch.cat(parts, dim=1) if parts else None

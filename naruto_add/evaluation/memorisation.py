"""Memorisation: are generated pictures nearer to the training images than pictures that were never trained on?

The yardstick is the held-out images' own distance to their nearest training image; no threshold has to be chosen
(method.md, section 6.7).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.stats import mannwhitneyu
from torch import Tensor

CLOSE = 0.05
"""Pictures nearer than this quantile of the held-out distances are counted as close."""


@dataclass(frozen=True)
class Neighbours:
    """For each picture the nearest training image (N,) and the distance to it (N,)."""

    ids: Tensor
    distances: Tensor


@dataclass(frozen=True)
class Memorisation:
    """Distances to the nearest training image, against those of held-out images."""

    n: int
    n_train: int
    median: float
    heldout_median: float
    close_share: float
    """Share of pictures nearer than 95 % of the held-out ones; 0.05 is what chance gives."""
    p_value: float
    """One-sided Mann-Whitney test of "nearer than held-out": small means memorised."""


def nearest(features: Tensor, training: Tensor) -> Neighbours:
    """Nearest neighbours of `features` (N, F) in `training` (M, F) by distance of unit vectors (0 to 2)."""
    distances = torch.cdist(F.normalize(features.double(), dim=1), F.normalize(training.double(), dim=1))
    smallest, ids = distances.min(dim=1)
    return Neighbours(ids, smallest)


def memorisation(generated: Tensor, heldout: Tensor, n_train: int) -> Memorisation:
    """Compare distances to the nearest of `n_train` training images: `generated` (N,) and `heldout` (M,)."""
    test = mannwhitneyu(generated.numpy(), heldout.numpy(), alternative="less")
    close = torch.quantile(heldout, CLOSE)
    return Memorisation(
        n=len(generated),
        n_train=n_train,
        median=generated.median().item(),
        heldout_median=heldout.median().item(),
        close_share=(generated < close).double().mean().item(),
        p_value=float(test.pvalue),
    )

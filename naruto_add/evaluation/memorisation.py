"""Memorisation: are generated pictures nearer to the training images than pictures that were never trained on?

The yardstick is the held-out images' own distance to their nearest training image; no threshold has to be chosen
(method.md, section 6.7). Pictures of a blurred model are far from everything, which would hide its copies: so the
distance is also measured in the unit of a picture's own surroundings, as Carlini et al. do (2023, arXiv 2301.13188,
section 4.2), which a model that is merely bad does not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.stats import binomtest, mannwhitneyu
from torch import Tensor

CLOSE = 0.05
"""Pictures nearer than this quantile of the held-out distances are counted as close."""
CROWD = 50
"""Training images whose mean distance is a picture's own unit; a quarter of them all where there are fewer."""


@dataclass(frozen=True)
class Neighbours:
    """For each picture the nearest training image (N,), the distance to it (N,), and that in its own unit (N,)."""

    ids: Tensor
    distances: Tensor
    relative: Tensor


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
    relative_close_share: float
    """As `close_share`, with each distance in its picture's own unit."""
    relative_p_value: float
    """One-sided binomial test of that share against 0.05: small means that some pictures are copies."""


def nearest(features: Tensor, training: Tensor) -> Neighbours:
    """Nearest neighbours of `features` (N, F) in `training` (M, F) by distance of unit vectors (0 to 2)."""
    distances = torch.cdist(F.normalize(features.double(), dim=1), F.normalize(training.double(), dim=1))
    crowd = max(1, min(CROWD, len(training) // 4))
    closest, ids = distances.topk(crowd, dim=1, largest=False)
    unit = closest.mean(dim=1).clamp(min=torch.finfo(closest.dtype).tiny)
    return Neighbours(ids[:, 0], closest[:, 0], closest[:, 0] / unit)


def memorisation(generated: Neighbours, heldout: Neighbours, n_train: int) -> Memorisation:
    """Compare the nearest of `n_train` training images: of generated pictures and of held-out images."""
    test = mannwhitneyu(generated.distances.numpy(), heldout.distances.numpy(), alternative="less")
    copies = int(closer(generated.relative, heldout.relative).sum())
    return Memorisation(
        n=len(generated.ids),
        n_train=n_train,
        median=generated.distances.median().item(),
        heldout_median=heldout.distances.median().item(),
        close_share=closer(generated.distances, heldout.distances).double().mean().item(),
        p_value=float(test.pvalue),
        relative_close_share=copies / len(generated.ids),
        relative_p_value=float(binomtest(copies, len(generated.ids), CLOSE, alternative="greater").pvalue),
    )


def closer(generated: Tensor, heldout: Tensor) -> Tensor:
    """Which of the first are below the second's `CLOSE` quantile, (N,)."""
    return generated < torch.quantile(heldout, CLOSE)

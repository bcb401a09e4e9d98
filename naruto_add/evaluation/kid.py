"""Kernel distance: the unbiased squared MMD with a cubic kernel (Binkowski et al. 2018, equation 4; "KID").

Unlike the Frechet distance its expectation does not depend on the number of images, and it may be negative.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_kernel

from naruto_add.evaluation.bootstrap import Estimate, around, resamples


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """Unbiased MMD^2 of `features` (N, F) and `reference` (M, F) over all pairs; N and M at least 2."""
    assert min(len(features), len(reference)) >= 2, "an unbiased estimate needs two images"
    everyone = torch.ones(1, len(features), dtype=torch.float64)
    return _distances(features.double(), reference.double(), everyone).item()


def kernel_estimate(features: Tensor, reference: Tensor, count: int, seed: int) -> Estimate:
    """`kernel_distance` with an interval over the images of `features`; the reference stays as it is."""
    rows = resamples(count, len(features), seed)
    weights = torch.zeros(count, len(features), dtype=torch.float64)
    weights.scatter_add_(1, rows, torch.ones_like(rows, dtype=torch.float64))
    resampled = _distances(features.double(), reference.double(), weights)
    return around(kernel_distance(features, reference), resampled)


def _distances(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """MMD^2 for each row of `weights` (R, N), how often each image of `a` counts.

    Pairs of an image with itself (and so with its copies in a resample) are left out.
    """
    within_b = _without_diagonal(poly_kernel(b, b))
    mean_b = within_b.sum() / (len(b) * (len(b) - 1))
    weights = weights / weights.sum(dim=1, keepdim=True)
    pairs = 1 - weights.square().sum(dim=1)
    mean_a = ((weights @ _without_diagonal(poly_kernel(a, a))) * weights).sum(dim=1) / pairs
    across = weights @ poly_kernel(a, b).mean(dim=1)
    return mean_a + mean_b - 2 * across


def _without_diagonal(kernel: Tensor) -> Tensor:
    return kernel - torch.diag(kernel.diag())

"""Frechet distance between two sets of features, each seen as a Gaussian (Heusel et al. 2017, equation 6).

    d^2 = |mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2))

With S_a = A^T A and S_b = B^T B, the eigenvalues of S_a S_b are the squared singular values of A B^T, so the last trace
is a sum of singular values. That is exact, needs no square root of a matrix that is nearly singular, and costs as much
as the smaller of the number of images and the number of features. All in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from naruto_add.evaluation.bootstrap import Estimate, around, resamples


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """The squared Frechet distance of `features` (N, F) to `reference` (M, F); N and M at least 2."""
    assert min(len(features), len(reference)) >= 2, "a covariance needs two images"
    mean_a, root_a = gaussian(features)
    mean_b, root_b = gaussian(reference)
    covariance = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * covariance
    return max(distance.item(), 0.0)


def gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and a root A (min(N, F), F) of the unbiased covariance: A^T A = S."""
    features = features.double()
    mean = features.mean(dim=0)
    root = (features - mean) / (len(features) - 1) ** 0.5
    if root.shape[0] > root.shape[1]:
        root = torch.linalg.qr(root, mode="r").R
    return mean, root


def frechet_estimate(features: Tensor, reference: Tensor, count: int, seed: int) -> Estimate:
    """`frechet_distance` with an interval over the images of `features`; the reference stays as it is."""
    mean, root = gaussian(reference)
    features = features.double()
    crossed = features @ root.T
    rows = resamples(count, len(features), seed)
    variable = torch.stack([varying_part(features[row], crossed[row], mean) for row in rows])
    return around(frechet_distance(features, reference), variable)


def frechet_difference(features: Tensor, others: Tensor, reference: Tensor, count: int, seed: int) -> Estimate:
    """The distance of `features` (N, F) less that of `others` (N, F), with an interval over their common rows.

    Row n of both must show the same caption from the same noise: then most of what chance does to one it does to the
    other, and small differences can be told from none.
    """
    assert len(features) == len(others), "rows are compared in pairs"
    mean, root = gaussian(reference)
    pair = [(each.double(), each.double() @ root.T) for each in (features, others)]
    parts = [
        [varying_part(rows_of[row], crossed[row], mean) for rows_of, crossed in pair]
        for row in resamples(count, len(features), seed)
    ]
    value = frechet_distance(features, reference) - frechet_distance(others, reference)
    return around(value, torch.stack([mine - theirs for mine, theirs in parts]))


def varying_part(features: Tensor, crossed: Tensor, mean: Tensor) -> Tensor:
    """The distance of a resample, but for the reference's own trace; `crossed` (N, K) is `features` times its root."""
    own_mean, degrees = features.mean(dim=0), len(features) - 1
    cross = (crossed - crossed.mean(dim=0)) / degrees**0.5
    narrow = cross if cross.shape[0] <= cross.shape[1] else cross.T
    covariance = torch.linalg.eigvalsh(narrow @ narrow.T).clamp(min=0).sqrt().sum()
    variance = (features - own_mean).square().sum() / degrees
    return (own_mean - mean).square().sum() + variance - 2 * covariance

"""Bootstrap intervals: draw the images again with replacement and look at how far the score moves."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from naruto_add import rng

LEVEL = 0.95


class Estimate(NamedTuple):
    """A score and its 95 % interval."""

    value: float
    interval: tuple[float, float]


def resamples(count: int, size: int, seed: int) -> Tensor:
    """Indices of `count` resamples of `size` images, int64 (count, size): a function of the three numbers alone.

    Where chance draws one image throughout, its last draw is another one: no score is defined for a single image.
    """
    rows = torch.randint(size, (count, size), generator=rng.generator(seed, "evaluate/bootstrap", size))
    single = (rows == rows[:, :1]).all(dim=1)
    rows[single, -1] = (rows[single, -1] + 1) % size
    return rows


def around(value: float, resampled: Tensor) -> Estimate:
    """The interval around `value` as wide as the spread of `resampled` (R,).

    The spread is centred on its own mean first: a resample holds fewer distinct images than the sample, which
    raises any Frechet distance, so that the plain percentile interval would lie above the score itself.
    """
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    spread = resampled.double() - resampled.double().mean()
    low, high = (value + torch.quantile(spread, ends)).tolist()
    return Estimate(value, (low, high))


def mean_estimate(values: Tensor, count: int, seed: int) -> Estimate:
    """The mean of per-image `values` (N,) and its bootstrap interval."""
    values = values.double()
    rows = resamples(count, len(values), seed)
    return around(values.mean().item(), values[rows].mean(dim=1))

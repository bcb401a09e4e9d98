from __future__ import annotations

import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from naruto_add.evaluation.kid import kernel_distance, kernel_estimate


def features(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_agrees_with_torchmetrics_for_sets_of_equal_size() -> None:
    a, b = features(30, 0), features(30, 1, 0.3)
    assert kernel_distance(a, b) == pytest.approx(poly_mmd(a, b).item(), rel=1e-9)


def test_is_unbiased_its_mean_over_subsets_is_its_value() -> None:
    a, b = features(7, 0), features(9, 1)
    subsets = [torch.cat([a[:i], a[i + 1 :]]) for i in range(len(a))]
    mean = sum(kernel_distance(subset, b) for subset in subsets) / len(subsets)
    assert mean == pytest.approx(kernel_distance(a, b), rel=1e-9, abs=1e-12)


def test_two_draws_of_one_distribution_are_at_zero_on_average_whatever_n() -> None:
    few = [kernel_distance(features(5, 2 * i), features(8, 2 * i + 1)) for i in range(300)]
    mean = sum(few) / len(few)
    error = torch.tensor(few).std().item() / len(few) ** 0.5
    assert abs(mean) < 3 * error
    assert min(few) < 0


def test_interval_surrounds_the_score_and_copies_do_not_count_as_pairs() -> None:
    a, b = features(40, 0), features(60, 1, 0.5)
    estimate = kernel_estimate(a, b, 200, seed=0)
    assert estimate == kernel_estimate(a, b, 200, seed=0)
    low, high = estimate.interval
    assert 0 < low < estimate.value < high

from __future__ import annotations

import torch

from naruto_add.evaluation.bootstrap import around, mean_estimate, resamples


def test_resamples_depend_on_their_address_alone() -> None:
    first = resamples(5, 8, seed=3)
    torch.rand(7)
    assert torch.equal(first, resamples(5, 8, seed=3))
    assert not torch.equal(first, resamples(5, 8, seed=4))
    assert first.shape == (5, 8)
    assert first.min() >= 0 and first.max() < 8


def test_no_resample_holds_one_image_alone() -> None:
    rows = resamples(500, 3, seed=0)
    assert all(len(set(row)) > 1 for row in rows.tolist())
    assert resamples(2, 1, seed=0).tolist() == [[0], [0]]


def test_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    estimate = mean_estimate(values, 4000, seed=0)
    expected = 2 * 1.96 * values.std() / 400**0.5
    low, high = estimate.interval
    assert low < estimate.value < high
    assert abs((high - low) / expected - 1) < 0.08


def test_interval_stays_around_the_score_when_resampling_raises_it() -> None:
    low, high = around(10.0, torch.linspace(14.0, 16.0, 101)).interval
    assert low < 10.0 < high
    assert abs(high - low - 0.95 * 2) < 1e-6

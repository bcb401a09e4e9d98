from __future__ import annotations

import pytest
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from naruto_add.evaluation.frechet import (
    frechet_difference,
    frechet_distance,
    frechet_estimate,
    gaussian,
    varying_part,
)


def features(count: int, size: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Correlated features with a long tail of small variances, as networks give them."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    scale = torch.arange(1, size + 1, dtype=torch.float64) ** -0.5
    return torch.randn(count, size, generator=generator, dtype=torch.float64) * scale @ mix + shift


@pytest.mark.parametrize(("count", "size"), [(40, 96), (300, 24)])
def test_a_set_is_at_no_distance_from_itself(count: int, size: int) -> None:
    a = features(count, size, 0)
    assert frechet_distance(a, a) <= 1e-3


@pytest.mark.parametrize(("n", "m", "size"), [(40, 60, 96), (300, 200, 24), (30, 200, 48)])
def test_agrees_with_torch_fidelity(n: int, m: int, size: int) -> None:
    a, b = features(n, size, 0), features(m, size, 1, shift=0.2)
    theirs = fid_statistics_to_metric(fid_features_to_statistics(a), fid_features_to_statistics(b), verbose=False)
    assert frechet_distance(a, b) == pytest.approx(theirs[KEY_METRIC_FID], rel=1e-3)


def test_a_shift_counts_as_its_square() -> None:
    a = features(50, 16, 0)
    assert frechet_distance(a, a + 0.5) == pytest.approx(16 * 0.25, rel=1e-9)


def test_is_symmetric_and_has_a_floor_that_falls_with_n() -> None:
    few, many, other = features(20, 32, 0), features(500, 32, 1), features(500, 32, 2)
    assert frechet_distance(few, many) == pytest.approx(frechet_distance(many, few))
    assert frechet_distance(few, many) > 5 * frechet_distance(other, many)


@pytest.mark.parametrize(("n", "m", "size"), [(30, 70, 48), (200, 70, 24)])
def test_bootstrap_computes_the_same_distance(n: int, m: int, size: int) -> None:
    a, b = features(n, size, 0), features(m, size, 1)
    mean, root = gaussian(b)
    whole = varying_part(a, a @ root.T, mean) + root.square().sum()
    assert whole.item() == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_interval_surrounds_the_score_and_depends_on_the_seed_alone() -> None:
    a, b = features(30, 48, 0), features(70, 48, 1)
    first, again = frechet_estimate(a, b, 50, seed=1), frechet_estimate(a, b, 50, seed=1)
    assert first == again
    assert first.value == frechet_distance(a, b)
    assert first.interval[0] < first.value < first.interval[1]
    assert frechet_estimate(a, b, 50, seed=2).interval != first.interval


def test_two_sets_of_the_same_pictures_do_not_differ_and_pairs_are_told_apart_sooner() -> None:
    reference, own = features(300, 24, 1), features(60, 24, 2)
    same = frechet_difference(own, own, reference, 50, 0)
    assert same.value == 0 and same.interval == (0, 0)
    nudged = own + 0.05  # the same pictures, all a little off
    paired = frechet_difference(nudged, own, reference, 50, 0)
    assert paired.value == pytest.approx(frechet_distance(nudged, reference) - frechet_distance(own, reference))
    loose = frechet_difference(features(60, 24, 3, 0.05), own, reference, 50, 0)
    width, loose_width = (high - low for low, high in (paired.interval, loose.interval))
    assert width < loose_width / 5

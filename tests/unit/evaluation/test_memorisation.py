from __future__ import annotations

import pytest
import torch

from naruto_add.evaluation.memorisation import memorisation, nearest


def features(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_copies_are_found_and_named() -> None:
    train = features(50, 0)
    copies = train[[7, 3, 9]] * 1.5
    found = nearest(copies, train)
    assert found.ids.tolist() == [7, 3, 9]
    assert found.distances.max() < 1e-6


def test_a_model_that_copies_is_told_from_one_that_does_not() -> None:
    train, heldout = features(200, 0), nearest(features(60, 1), features(200, 0)).distances
    copied = memorisation(nearest(train[:40] + 0.05 * features(40, 2), train).distances, heldout, 200)
    learned = memorisation(nearest(features(40, 3), train).distances, heldout, 200)
    assert copied.p_value < 1e-6
    assert copied.close_share == 1
    assert learned.p_value > 0.01
    assert learned.close_share < 0.3
    assert copied.median < learned.median == pytest.approx(learned.heldout_median, rel=0.1)
    assert (copied.n, copied.n_train) == (40, 200)

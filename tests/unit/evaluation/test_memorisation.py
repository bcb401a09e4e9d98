from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from naruto_add.data import universe
from naruto_add.evaluation.eyes import Eyes
from naruto_add.evaluation.memorisation import Memorisation, memorisation, nearest

TRAIN, HELDOUT, DRAWN = 32, 24, 16


def features(count: int, seed: int) -> Tensor:
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_copies_are_found_and_named() -> None:
    train = features(50, 0)
    copies = train[[7, 3, 9]] * 1.5
    found = nearest(copies, train)
    assert found.ids.tolist() == [7, 3, 9]
    assert found.distances.max() < 1e-6 and found.relative.max() < 1e-6


def test_a_model_that_copies_is_told_from_one_that_does_not() -> None:
    train, heldout = features(200, 0), nearest(features(60, 1), features(200, 0))
    copied = memorisation(nearest(train[:40] + 0.05 * features(40, 2), train), heldout, 200)
    learned = memorisation(nearest(features(40, 3), train), heldout, 200)
    assert copied.p_value < 1e-6 and copied.relative_p_value < 1e-6
    assert copied.close_share == copied.relative_close_share == 1
    assert learned.p_value > 0.01 and learned.relative_p_value > 0.01
    assert learned.close_share < 0.3
    assert copied.median < learned.median == pytest.approx(learned.heldout_median, rel=0.1)
    assert (copied.n, copied.n_train) == (40, 200)


# Real pictures, in the eyes of the evaluation


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    """Drawn scenes (N, 3, 64, 64), uint8: for training, held out, and two sets more that nobody has seen."""
    count = TRAIN + HELDOUT + 2 * DRAWN
    drawn = [np.asarray(universe.draw("ninja", 8, index, 64)[0].convert("RGB")) for index in range(count)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)


def found(pictures: Tensor, scenes: Tensor, eyes: Eyes) -> Memorisation:
    """What is said of a model's pictures."""
    train = eyes.features(scenes[:TRAIN])
    heldout = nearest(eyes.features(scenes[TRAIN : TRAIN + HELDOUT]), train)
    return memorisation(nearest(eyes.features(pictures), train), heldout, TRAIN)


def noisy(pictures: Tensor) -> Tensor:
    """The pictures with some noise: not the same pixels, plainly the same picture."""
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    return (pictures + 6 * noise).clamp(0, 255).to(torch.uint8)


def blurred(pictures: Tensor) -> Tensor:
    """The pictures of a bad model."""
    small = F.avg_pool2d(pictures.float(), 4)
    return F.interpolate(small, scale_factor=4, mode="bilinear").to(torch.uint8)


def test_a_copier_is_caught_and_new_pictures_are_not(scenes: Tensor, eyes: Eyes) -> None:
    copier = found(noisy(scenes[:DRAWN]), scenes, eyes)
    assert copier.p_value < 1e-3 and copier.relative_p_value < 1e-3
    new = found(scenes[-DRAWN:], scenes, eyes)
    assert new.p_value >= 0.05 and new.relative_p_value >= 0.05


def test_a_bad_model_cannot_hide_that_some_of_its_pictures_are_copies(scenes: Tensor, eyes: Eyes) -> None:
    bad = blurred(scenes[-DRAWN:])
    honest, thief = found(bad, scenes, eyes), found(torch.cat([noisy(scenes[:5]), bad[5:]]), scenes, eyes)
    assert honest.p_value >= 0.05 and honest.relative_p_value >= 0.05
    assert thief.p_value >= 0.05, "its other pictures are far from everything"
    assert thief.relative_p_value < 0.01

"""Augmentation: addressed, the same for equal positions, differentiable, and doing what it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from naruto_add.models.augment import augment, colour, cutout, translate


def images(count: int = 3, side: int = 16) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_draw_depends_on_its_position_alone() -> None:
    pixels = images()
    together = augment(pixels, 0, "augment-0", [5, 6, 7])
    assert torch.equal(together[1:2], augment(pixels[1:2], 0, "augment-0", [6]))
    assert not torch.equal(together, augment(pixels, 0, "augment-1", [5, 6, 7]))
    assert not torch.equal(together, augment(pixels, 1, "augment-0", [5, 6, 7]))


def test_equal_positions_are_treated_alike() -> None:
    pixels = images(1).repeat(2, 1, 1, 1)
    first, second = augment(pixels, 0, "augment-0", [4, 4])
    assert torch.equal(first, second)


def test_gradients_pass() -> None:
    pixels = images().requires_grad_()
    augment(pixels, 0, "augment-0", [0, 1, 2]).square().sum().backward()
    assert pixels.grad is not None
    shares = (pixels.grad != 0).flatten(1).float().mean(1)
    assert (shares > 0.5).all()


def test_middle_draws_change_nothing() -> None:
    pixels, middle = images(), torch.full((3,), 0.5)
    torch.testing.assert_close(colour(pixels, middle, middle, middle), pixels)
    assert torch.equal(translate(pixels, middle, middle), pixels)


def test_colour_shifts_brightness() -> None:
    pixels, middle = images(), torch.full((3,), 0.5)
    torch.testing.assert_close(colour(pixels, middle + 0.5, middle, middle), pixels + 0.25)


@pytest.mark.parametrize(("draw", "shift"), [(0.0, 2), (0.999, -2)])
def test_translation_moves_by_at_most_an_eighth(draw: float, shift: int) -> None:
    pixels, middle = images(), torch.full((3,), 0.5)
    moved = translate(pixels, torch.full((3,), draw), middle)
    expected = torch.roll(pixels, shift, dims=3)
    inside = slice(2, None) if shift > 0 else slice(None, -2)
    assert torch.equal(moved[..., inside], expected[..., inside])
    assert moved.shape == pixels.shape and (moved == 0).any()


def test_cutout_greys_a_square_of_a_quarter_of_the_side() -> None:
    middle = torch.full((3,), 0.5)
    hidden = cutout(torch.ones(3, 3, 16, 16), middle, middle) == 0
    assert hidden.sum() == 3 * 3 * 4 * 4
    assert hidden[:, :, 6:10, 6:10].all()

"""Consistency models' boundary condition and metric, in float64."""

from __future__ import annotations

import math

import torch
from diffusers import LCMScheduler
from torch import Tensor

from naruto_add.diffusion.consistency import HUBER, SIGMA_DATA, boundary, consistency, pseudo_huber
from tests.tiny import V_ZERO_SNR


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_boundary_terms_are_those_that_diffusers_samples_with() -> None:
    t = torch.tensor([0, 1, 24, 249, 999])
    c_skip, c_out = LCMScheduler.from_config(V_ZERO_SNR).get_scalings_for_boundary_condition_discrete(t.double())
    torch.testing.assert_close(boundary(t), (c_skip, c_out))


def test_the_boundary_terms_keep_the_variance_of_the_data() -> None:
    """Inputs of variance (s t)^2 + sigma^2 and guesses of variance sigma^2 give results of variance sigma^2."""
    t = torch.tensor([0, 1, 3, 10])
    c_skip, c_out = boundary(t)
    noisy = (10.0 * t.double()).square() + SIGMA_DATA**2
    torch.testing.assert_close(
        c_skip.square() * noisy + c_out.square() * SIGMA_DATA**2, torch.full((4,), 0.25).double()
    )


def test_at_time_zero_the_function_is_the_identity() -> None:
    x_t, x0 = normal(2, 4, 3, 3), normal(2, 4, 3, 3, seed=1)
    found = consistency(x0, x_t, torch.tensor([0, 500]))
    assert torch.equal(found[0], x_t[0])
    torch.testing.assert_close(found[1], x0[1], rtol=1e-4, atol=1e-4)


def test_pseudo_huber_is_its_definition() -> None:
    a, b = normal(3, 4, 5, 5), normal(3, 4, 5, 5, seed=1)
    n = 100
    c = HUBER * math.sqrt(n)
    expected = [(math.sqrt(float((x - y).square().sum()) + c**2) - c) / math.sqrt(n) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(pseudo_huber(a, b), torch.tensor(expected).double().mean())
    assert pseudo_huber(a, a) == 0


def test_pseudo_huber_is_differentiable_where_both_are_equal() -> None:
    a = normal(1, 4, 2, 2).requires_grad_()
    pseudo_huber(a, a.detach()).backward()
    assert a.grad is not None and a.grad.abs().max() == 0

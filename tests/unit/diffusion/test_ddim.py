"""The DDIM step against diffusers' own, in float64."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from naruto_add.diffusion.ddim import ddim_step
from naruto_add.diffusion.schedule import load_schedule
from tests.tiny import EPSILON, V_ZERO_SNR

CONFIGS = [V_ZERO_SNR, EPSILON]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scheduler_of(config: dict[str, object], steps: int) -> DDIMScheduler:
    """Diffusers' scheduler in float64, one step crossing 1000 // steps timesteps."""
    scheduler = DDIMScheduler.from_config(config)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("t", [999, 500, 249])
def test_a_step_is_equation_12(config: dict[str, object], t: int) -> None:
    schedule, scheduler = load_schedule(config), scheduler_of(config, 4)
    x_t, output = normal(2, 4, 3, 3), normal(2, 4, 3, 3, seed=1)
    found = ddim_step(schedule, output, x_t, torch.full((2,), t), torch.full((2,), max(t - 250, 0)))
    if t >= 250:
        torch.testing.assert_close(found, scheduler.step(output, t, x_t, eta=0.0).prev_sample)
    else:  # diffusers jumps to alpha = 1 there, we to timestep 0
        x0, eps = schedule.to_x0(output, x_t, torch.full((2,), t)), schedule.to_eps(output, x_t, torch.full((2,), t))
        torch.testing.assert_close(found, schedule.alphas[0] * x0 + schedule.sigmas[0] * eps)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_standing_step_stands_still(config: dict[str, object]) -> None:
    schedule, t = load_schedule(config), torch.tensor([0, 300, 998])
    x_t = normal(3, 4, 3, 3)
    torch.testing.assert_close(ddim_step(schedule, normal(3, 4, 3, 3, seed=1), x_t, t, t), x_t)

"""The DDIM solver against diffusers' own, in float64."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from naruto_add.diffusion.ddim import ddim_step, solve
from naruto_add.diffusion.guidance import guided
from naruto_add.diffusion.schedule import load_schedule
from tests.tiny import EPSILON, TEXT_DIM, V_ZERO_SNR, tiny_unet

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


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("steps", [1, 3])
def test_every_image_goes_its_own_way_down(config: dict[str, object], steps: int) -> None:
    """A batch of different timesteps equals each image alone, walked with diffusers' formula."""
    unet, schedule = tiny_unet().double(), load_schedule(config)
    x, t = normal(3, 4, 8, 8), torch.tensor([999, 749, 250])
    text, uncond = normal(3, 5, TEXT_DIM, seed=1), normal(5, TEXT_DIM, seed=2)
    found = solve(unet, schedule, x, t, text, uncond, 2.0, steps)
    for row, start in enumerate(t.tolist()):
        x_t = x[row : row + 1]
        for k in range(steps, 0, -1):
            now, after = start * k // steps, start * (k - 1) // steps
            with torch.no_grad():
                cond = unet(x_t, now, encoder_hidden_states=text[row : row + 1]).sample
                output = guided(cond, unet(x_t, now, encoder_hidden_states=uncond[None]).sample, 2.0)
            scheduler = scheduler_of(config, 1)
            scheduler.config.num_train_timesteps = now - after  # what one step crosses
            step = scheduler.step(output, now, x_t, eta=0.0)
            x_t = step.pred_original_sample if k == 1 else step.prev_sample
        torch.testing.assert_close(found[row : row + 1], x_t)

"""DPM-Solver++ 2M for images at different timesteps, against diffusers' own, and against a path that is known."""

from __future__ import annotations

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from naruto_add.diffusion.dpm_solver import Guess, dpm_step, solve
from naruto_add.diffusion.guidance import guided
from naruto_add.diffusion.schedule import Schedule, load_schedule
from tests.tiny import EPSILON, TEXT_DIM, V_ZERO_SNR, tiny_unet

CONFIGS = [V_ZERO_SNR, EPSILON]
STARTS = [999, 749, 250]
SPREAD = 0.3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_every_image_goes_its_own_way_down(config: dict[str, object], steps: int) -> None:
    """A batch of different timesteps equals each image alone, taken through the same timesteps by diffusers."""
    unet, schedule = tiny_unet().double(), load_schedule(config)
    x, t = normal(3, 4, 8, 8), torch.tensor(STARTS)
    text, uncond = normal(3, 5, TEXT_DIM, seed=1), normal(5, TEXT_DIM, seed=2)
    found = solve(unet, schedule, x, t, text, uncond, 2.0, steps)
    for row, start in enumerate(STARTS):
        scheduler = DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++", solver_order=2)
        scheduler.set_timesteps(timesteps=[start * left // steps for left in range(steps, 0, -1)])
        x_t = x[row : row + 1]
        for now in scheduler.timesteps:
            with torch.no_grad():
                cond = unet(x_t, now, encoder_hidden_states=text[row : row + 1]).sample
                output = guided(cond, unet(x_t, now, encoder_hidden_states=uncond[None]).sample, 2.0)
            x_t = scheduler.step(output, now, x_t).prev_sample
        torch.testing.assert_close(found[row : row + 1], x_t, rtol=1e-3, atol=1e-3)  # its coefficients are float32


def best_guess(schedule: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
    """x0 as the best model has it, in a world whose latents are normal with deviation SPREAD."""
    alpha, sigma = schedule.alpha(t, x_t), schedule.sigma(t, x_t)
    return alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * x_t


def deviation(schedule: Schedule, like: Tensor, t: Tensor) -> Tensor:
    """The deviation of that world's x_t: along the exact path, x_t stays the same multiple of it."""
    return (schedule.alpha(t, like) ** 2 * SPREAD**2 + schedule.sigma(t, like) ** 2).sqrt()


def test_twice_the_steps_leave_a_third_of_the_error_or_less() -> None:
    """A path whose end is known: a solver of the first order would leave a half."""
    schedule, x, t, end = load_schedule(V_ZERO_SNR), normal(2, 4, 3, 3), torch.tensor([900, 740]), 100
    wanted = x / deviation(schedule, x, t) * deviation(schedule, x, torch.full_like(t, end))

    def error(steps: int) -> float:
        x_t, earlier = x, None
        for k in range(steps):
            now, after = (t - (t - end) * place // steps for place in (k, k + 1))
            guess = Guess(best_guess(schedule, x_t, now), now)
            x_t, earlier = dpm_step(schedule, x_t, guess, earlier, after), guess
        return float((x_t - wanted).norm())

    errors = [error(steps) for steps in (5, 10, 20)]
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3


@pytest.mark.parametrize("config", CONFIGS)
def test_a_standing_step_stands_still_and_gives_nothing_to_the_next(config: dict[str, object]) -> None:
    """Strides are whole timesteps, and near the end some of them are zero."""
    schedule, t, x_t = load_schedule(config), torch.tensor([0, 300, 998]), normal(3, 4, 3, 3)
    guess, earlier = Guess(normal(3, 4, 3, 3, seed=1), t), Guess(normal(3, 4, 3, 3, seed=2), t)
    torch.testing.assert_close(dpm_step(schedule, x_t, guess, earlier, t), x_t)
    moved = dpm_step(schedule, x_t, guess, earlier, t // 2)
    torch.testing.assert_close(moved, dpm_step(schedule, x_t, guess, None, t // 2))

"""The schedule's conversions in float64 against the equations, and against diffusers' own schedulers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from naruto_add.diffusion.schedule import Schedule, load_schedule
from naruto_add.errors import UserError
from tests.tiny import EPSILON, V_ZERO_SNR

CONFIGS = [V_ZERO_SNR, EPSILON]
TIMESTEPS = torch.tensor([0, 1, 249, 499, 749, 998, 999])


def draws(count: int = len(TIMESTEPS)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(count, 4, 3, 3, generator=generator, dtype=torch.float64)
    return x0, torch.randn(count, 4, 3, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("config", CONFIGS)
def test_coefficients_keep_the_variance(config: dict[str, object]) -> None:
    schedule = load_schedule(config)
    assert schedule.num_timesteps == 1000
    torch.testing.assert_close(schedule.alphas**2 + schedule.sigmas**2, torch.ones(1000, dtype=torch.float64))


def test_zero_terminal_snr_only_where_the_base_has_it() -> None:
    assert load_schedule(V_ZERO_SNR).alphas[-1] == 0
    assert load_schedule(EPSILON).alphas[-1] == pytest.approx(0.0683, abs=1e-3)  # Stable Diffusion 1.5


@pytest.mark.parametrize("config", CONFIGS)
def test_model_output_converts_back_to_x0_and_eps(config: dict[str, object]) -> None:
    schedule, (x0, eps) = load_schedule(config), draws()
    x_t = schedule.add_noise(x0, eps, TIMESTEPS)
    output = schedule.target(x0, eps, TIMESTEPS)
    torch.testing.assert_close(schedule.to_x0(output, x_t, TIMESTEPS), x0)
    torch.testing.assert_close(schedule.to_eps(output, x_t, TIMESTEPS), eps)


@pytest.mark.parametrize("config", CONFIGS)
def test_agrees_with_diffusers(config: dict[str, object]) -> None:
    schedule, (x0, eps) = load_schedule(config), draws()
    theirs = DDPMScheduler.from_config(config)
    torch.testing.assert_close(schedule.add_noise(x0, eps, TIMESTEPS), theirs.add_noise(x0, eps, TIMESTEPS))
    v = load_schedule(V_ZERO_SNR).target(x0, eps, TIMESTEPS)
    torch.testing.assert_close(v, DDPMScheduler.from_config(V_ZERO_SNR).get_velocity(x0, eps, TIMESTEPS))


@pytest.mark.parametrize("config", CONFIGS)
def test_x0_is_what_ddim_calls_pred_original_sample(config: dict[str, object]) -> None:
    schedule, (x_t, output) = load_schedule(config), draws(1)
    ddim = DDIMScheduler.from_config(config)
    ddim.set_timesteps(1000)
    for t in (1, 499, 999):
        theirs = ddim.step(output, t, x_t).pred_original_sample
        torch.testing.assert_close(schedule.to_x0(output, x_t, torch.tensor([t])), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_student_starts_from_pure_noise_whatever_the_base(config: dict[str, object]) -> None:
    schedule, (x0, eps) = load_schedule(config), draws()
    x_s = schedule.student_input(x0, eps, TIMESTEPS)
    assert torch.equal(x_s[-1], eps[-1])
    assert torch.equal(x_s[:-1], schedule.add_noise(x0, eps, TIMESTEPS)[:-1])
    guess = schedule.to_x0(schedule.target(x0, eps, TIMESTEPS), x_s, TIMESTEPS)
    assert torch.isfinite(guess).all()


def test_snr() -> None:
    schedule = load_schedule(V_ZERO_SNR)
    snr = schedule.snr(torch.tensor([0, 999]))
    assert snr[0] == pytest.approx(float(schedule.alphas[0] ** 2 / (1 - schedule.alphas[0] ** 2)))
    assert snr[1] == 0


def test_coefficients_take_dtype_and_shape_of_what_they_multiply() -> None:
    schedule: Schedule = load_schedule(EPSILON)
    like = torch.zeros(2, 4, 3, 3, dtype=torch.bfloat16)
    alpha = schedule.alpha(torch.tensor([0, 5]), like)
    assert alpha.shape == (2, 1, 1, 1) and alpha.dtype == torch.bfloat16


def test_other_predictions_are_refused() -> None:
    with pytest.raises(UserError, match="prediction_type is 'sample'"):
        load_schedule({**EPSILON, "prediction_type": "sample"})

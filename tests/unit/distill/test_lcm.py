"""Latent consistency distillation, each piece against diffusers' schedulers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler

from naruto_add import rng
from naruto_add.config import DistillConfig
from naruto_add.distill import ConsistencyDistillation
from naruto_add.distill.lcm import SKIP
from naruto_add.recipe import VALID_TIMESTEPS
from tests.tiny import EPSILON, V_ZERO_SNR
from tests.unit.distill.tools import BATCH, OPTIM, STATE, Recorder, batch_of, make, norm_of

CONFIG = DistillConfig(optim=OPTIM, method="lcm", teacher_guidance=2.0)


def lcm(config: DistillConfig = CONFIG, scheduler_config: dict[str, object] = V_ZERO_SNR) -> ConsistencyDistillation:
    method = make(config, scheduler_config)
    assert isinstance(method, ConsistencyDistillation)
    return method


def test_the_grid_holds_every_timestep_that_a_student_may_have() -> None:
    grid = set(range(SKIP - 1, 1000, SKIP))
    assert all(grid.issuperset(timesteps) for timesteps in VALID_TIMESTEPS.values())


@pytest.mark.parametrize("scheduler_config", [V_ZERO_SNR, EPSILON])
def test_the_target_is_the_average_after_one_guided_step_of_the_teacher(scheduler_config: dict[str, object]) -> None:
    method = lcm(scheduler_config=scheduler_config)
    judges, ddim = method.judges, DDIMScheduler.from_config(scheduler_config)
    ddim.set_timesteps(1000 // SKIP)  # one step of the solver crosses SKIP timesteps
    lcm_scheduler = LCMScheduler.from_config(scheduler_config)
    x_t, t = BATCH.latents, torch.tensor([49, 124, 499, 974])
    target = method.target(x_t, t, BATCH.text)
    for row in range(4):
        one, text = x_t[row : row + 1], BATCH.text[row : row + 1]
        with torch.no_grad():
            cond = judges.teacher(one, t[row], encoder_hidden_states=text).sample
            uncond = judges.teacher(one, t[row], encoder_hidden_states=judges.uncond_text[None]).sample
            before = ddim.step(uncond + 2 * (cond - uncond), int(t[row]), one).prev_sample
            n = int(t[row]) - SKIP
            output = method.student.ema(before, n, encoder_hidden_states=text).sample
        x0 = judges.schedule.to_x0(output, before, torch.tensor([n]))
        c_skip, c_out = lcm_scheduler.get_scalings_for_boundary_condition_discrete(torch.tensor(float(n)))
        torch.testing.assert_close(target[row : row + 1], c_out * x0 + c_skip * before, rtol=1e-3, atol=1e-3)


def test_at_the_end_of_the_trajectory_the_target_is_the_latent_itself() -> None:
    method = lcm()
    x_t, t = BATCH.latents, torch.full((4,), SKIP - 1)
    averaged = Recorder(method.student.ema)
    target = method.target(x_t, t, BATCH.text)
    torch.testing.assert_close(target, averaged.inputs[0])


def test_the_student_starts_from_pure_noise_at_the_last_timestep() -> None:
    method, batch = lcm(), batch_of(list(range(160)))
    seen = Recorder(method.student.module)
    method.terms(batch, seed=3)
    steps = rng.integers(1000 // SKIP, 3, "lcm-timestep", batch.positions)
    last = steps == 1000 // SKIP - 1
    eps = rng.normal((4, 8, 8), 3, "lcm-noise", batch.positions)
    assert last.any() and torch.equal(seen.inputs[0][last], eps[last])
    assert len(steps.unique()) > 20


def test_gradients_reach_the_student_and_not_its_average() -> None:
    method = lcm()
    method.student.backward(method.terms(BATCH, 0)["student_loss"])
    assert norm_of(method.student.module) > 0
    assert all(p.grad is None for p in method.student.ema.parameters())


@pytest.mark.parametrize("ema_images", [0, 8])
def test_a_few_steps_make_it_more_consistent(ema_images: int) -> None:
    method = lcm(replace(CONFIG, optim=replace(OPTIM, ema_images=ema_images)))
    losses = [method.step(BATCH, STATE)["student_loss"] for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]

"""Samplers as pure functions of (model, noise, text): the same noise gives the same image in any batch.

The teacher is sampled with DPM-Solver++ 2M (Lu et al. 2022), the student by predicting x0 and adding fresh noise at
the next timestep (the multi-step rule of consistency models, which diffusers calls LCMScheduler).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor, nn

from naruto_add import rng
from naruto_add.diffusion.guidance import predict, predict_guided
from naruto_add.diffusion.schedule import Schedule
from naruto_add.errors import UserError


def few_steps(student_timesteps: Sequence[int], steps: int) -> tuple[int, ...]:
    """`steps` of the student's timesteps, falling, evenly spaced by index, as LCMScheduler takes them.

    (249, 499, 749, 999): 4 -> (999, 749, 499, 249); 2 -> (999, 499); 1 -> (999,). Raises UserError for more steps
    than the student was trained for.
    """
    falling = sorted(student_timesteps, reverse=True)
    if not 1 <= steps <= len(falling):
        raise UserError(f"{steps} steps: the student knows 1 to {len(falling)} (distill.student_timesteps).")
    return tuple(falling[i * len(falling) // steps] for i in range(steps))


def initial_noise(shape: Sequence[int], seed: int, positions: Sequence[int]) -> Tensor:
    """x_T of the images at `positions`, (B, *shape), float32 on CPU; an image's noise does not depend on its batch."""
    return rng.normal(shape, seed, "x_T", positions)


def renoise_noises(shape: Sequence[int], seed: int, positions: Sequence[int], steps: int) -> list[Tensor]:
    """The steps - 1 fresh noises between a student's steps, each (B, *shape), float32 on CPU."""
    return [rng.normal(shape, seed, f"renoise-{step}", positions) for step in range(1, steps)]


@torch.no_grad()
def sample_student(
    unet: nn.Module,
    schedule: Schedule,
    x_T: Tensor,
    text: Tensor,
    timesteps: Sequence[int],
    noises: Sequence[Tensor],
) -> Tensor:
    """Latents x0 (B,C,h,w) in len(timesteps) passes: predict x0, add `noises[k]` at the next timestep, again.

    `x_T` (B,C,h,w) is pure noise, `text` (B,L,D), `timesteps` fall from T - 1, `noises` are len(timesteps) - 1.
    Equals diffusers' LCMScheduler up to its boundary terms, which are below 1e-6 at these timesteps.
    """
    x0 = denoise(unet, schedule, x_T, text, timesteps[0])
    for t, noise in zip(timesteps[1:], noises, strict=True):
        x_t = schedule.add_noise(x0, noise.to(x0), torch.full((len(x0),), t))
        x0 = denoise(unet, schedule, x_t, text, t)
    return x0


def denoise(unet: nn.Module, schedule: Schedule, x_t: Tensor, text: Tensor, t: int) -> Tensor:
    """x0 as the model predicts it from x_t (B,C,h,w) at timestep t, in one pass."""
    times = torch.full((len(x_t),), t)
    return schedule.to_x0(predict(unet, x_t, times, text), x_t, times)


@torch.no_grad()
def sample_teacher(
    unet: nn.Module,
    scheduler_config: Mapping[str, Any],
    x_T: Tensor,
    text: Tensor,
    uncond_text: Tensor,
    steps: int,
    guidance_scale: float,
) -> Tensor:
    """Latents x0 (B,C,h,w) in `steps` guided passes of DPM-Solver++ 2M; deterministic given `x_T`.

    `text` is (B,L,D), `uncond_text` (L,D). Timesteps are spaced from the end ("trailing", Lin et al. 2023, section
    3.3) whatever the base's config says, so that few steps also start from pure noise.
    """
    solver = dpm_solver(scheduler_config, steps, x_T.device)
    x_t = x_T
    for t in solver.timesteps:
        output = predict_guided(unet, x_t, t.expand(len(x_t)), text, uncond_text, guidance_scale)
        x_t = solver.step(output, t, x_t).prev_sample
    return x_t


def dpm_solver(scheduler_config: Mapping[str, Any], steps: int, device: torch.device) -> DPMSolverMultistepScheduler:
    """A fresh DPM-Solver++ 2M for one call: schedulers hold state."""
    solver = DPMSolverMultistepScheduler.from_config(
        dict(scheduler_config), algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="trailing"
    )
    solver.set_timesteps(steps, device=device)
    return solver

"""DPM-Solver++ 2M (Lu et al. 2022, arXiv 2211.01095), for batches whose images stand at different timesteps.

Where few steps must do, the second order is worth more than further steps: on `mini`'s world six of these come nearer
to real images than eight of DDIM's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from naruto_add.diffusion.guidance import predict_guided
from naruto_add.diffusion.schedule import Schedule, gather

LEAST_LOG_SNR = math.log(2**-12)
"""What diffusers takes for the -inf of a terminal timestep of zero SNR. It decides what the first guess is worth
beside the second; so these are the paths of `samplers.sample_teacher`."""


class Guess(NamedTuple):
    """What the model took for x0 (B,C,h,w) at timestep `t` (B,)."""

    x0: Tensor
    t: Tensor


def dpm_step(schedule: Schedule, x_t: Tensor, guess: Guess, earlier: Guess | None, t_next: Tensor) -> Tensor:
    """The x at `t_next` (B,) from x_t (B,C,h,w) at `guess.t`: Algorithm 2, its first step without an `earlier` guess.

    Where t_next is guess.t, the image stands still.
    """
    x0, t = guess
    now, then = log_snr(schedule, t), log_snr(schedule, t_next)
    decay = (now - then).exp()  # e^{-h}
    if earlier is not None:
        h_before = now - log_snr(schedule, earlier.t)
        half_over_r = torch.where(h_before > 0, (then - now) / (2 * h_before), 0.0)
        x0 = x0 + spread(half_over_r, x_t) * (x0 - earlier.x0)
    kept = schedule.sigma(t_next, x_t) / schedule.sigma(t, x_t)
    return kept * x_t + schedule.alpha(t_next, x_t) * spread(1 - decay, x_t) * x0


def log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    """lambda_t = log(alpha_t / sigma_t), shape (B,), float64, where the coefficients are."""
    return (schedule.alphas / schedule.sigmas).log()[t.to(schedule.alphas.device)].clamp(min=LEAST_LOG_SNR)


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Values (B,), shaped to multiply `like` (B, ...)."""
    return gather(values, torch.arange(len(values)), like)


@torch.no_grad()
def solve(
    unet: nn.Module,
    schedule: Schedule,
    x_t: Tensor,
    t: Tensor,
    text: Tensor,
    uncond_text: Tensor,
    scale: float,
    steps: int,
) -> Tensor:
    """x0 (B,C,h,w) in `steps` guided steps from x_t, each image from its own timestep `t` (B,) in equal strides.

    `text` is (B,L,D), `uncond_text` (L,D). The last step is the model's guess of x0 as it is.
    """
    earlier = None
    for left in range(steps, 0, -1):
        now, after = t * left // steps, t * (left - 1) // steps
        guess = Guess(schedule.to_x0(predict_guided(unet, x_t, now, text, uncond_text, scale), x_t, now), now)
        if left == 1:
            return guess.x0
        x_t, earlier = dpm_step(schedule, x_t, guess, earlier, after), guess
    raise AssertionError("a path has at least one step")

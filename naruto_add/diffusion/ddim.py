"""The deterministic DDIM solver (Song et al. 2021), for batches whose images stand at different timesteps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from naruto_add.diffusion.guidance import predict_guided
from naruto_add.diffusion.schedule import Schedule


def ddim_step(schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """The x at `t_next` (B,) from x_t (B,C,h,w) at `t` (B,) and the model's output there.

    Equation 12 of DDIM with sigma = 0: alpha' x0 + sigma' eps, with the x0 and eps that the output stands for.
    """
    return schedule.add_noise(schedule.to_x0(output, x_t, t), schedule.to_eps(output, x_t, t), t_next)


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
    """x0 (B,C,h,w) in `steps` guided DDIM steps from x_t, each image from its own timestep `t` (B,) in equal strides.

    `text` is (B,L,D), `uncond_text` (L,D). One step is the model's guess of x0 as it is.
    """
    for left in range(steps, 1, -1):
        now, after = t * left // steps, t * (left - 1) // steps
        output = predict_guided(unet, x_t, now, text, uncond_text, scale)
        x_t = ddim_step(schedule, output, x_t, now, after)
    last = t // steps
    return schedule.to_x0(predict_guided(unet, x_t, last, text, uncond_text, scale), x_t, last)

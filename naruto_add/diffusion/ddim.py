"""The deterministic DDIM step (Song et al. 2021), for batches whose images stand at different timesteps."""

from __future__ import annotations

from torch import Tensor

from naruto_add.diffusion.schedule import Schedule


def ddim_step(schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """The x at `t_next` (B,) from x_t (B,C,h,w) at `t` (B,) and the model's output there.

    Equation 12 of DDIM with sigma = 0: alpha' x0 + sigma' eps, with the x0 and eps that the output stands for.
    """
    return schedule.add_noise(schedule.to_x0(output, x_t, t), schedule.to_eps(output, x_t, t), t_next)

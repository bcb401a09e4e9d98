"""At which noise a discriminator looks: LADD's logit-normal density (arXiv 2403.12015), for any schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from naruto_add.diffusion.schedule import Schedule


def flow_times(normal: Tensor, mean: float, std: float) -> Tensor:
    """Times in (0, 1), float64, of the logit-normal density pi(t; mean, std) from numbers of N(0, 1).

    Esser et al. 2024 (SD3), equation 19; LADD looks at mean 1 and deviation 1.
    """
    return torch.sigmoid(mean + std * normal.double())


def timesteps_at(schedule: Schedule, times: Tensor) -> Tensor:
    """The timesteps (B,) whose noise is nearest to that of rectified-flow times (B,).

    There x_t = (1 - t) x0 + t eps, so sigma / alpha = t / (1 - t); nearest is meant in the logarithm of that ratio.
    """
    ratios = (schedule.sigmas / schedule.alphas).log()  # infinite at zero terminal SNR, and so never nearest
    return (ratios[None] - torch.logit(times.double().cpu())[:, None]).abs().argmin(dim=1)

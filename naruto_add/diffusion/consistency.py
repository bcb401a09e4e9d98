"""Consistency models: Song et al. 2023 (arXiv 2303.01469), for latents Luo et al. 2023 ("LCM", arXiv 2310.04378)."""

from __future__ import annotations

from torch import Tensor

SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0
"""LCM's constants, which diffusers' LCMScheduler samples with."""
HUBER = 0.00054
"""c of the pseudo-Huber metric for one entry (Song & Dhariwal 2023, section 3.3)."""


def boundary(t: Tensor) -> tuple[Tensor, Tensor]:
    """c_skip and c_out, each of the shape of `t`, float64: 1 and 0 at t = 0, where f(x, t) must be x itself.

    Appendix C of the consistency paper with LCM's scaled timestep: sigma^2 / ((s t)^2 + sigma^2) and
    s t / sqrt((s t)^2 + sigma^2).
    """
    scaled = TIMESTEP_SCALING * t.double()
    total = scaled.square() + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, scaled / total.sqrt()


def consistency(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """f(x_t, t) = c_skip x_t + c_out x0, equation 5 of the consistency paper; x0 is the network's guess at t (B,)."""
    c_skip, c_out = (c.to(x_t).view(-1, *[1] * (x_t.ndim - 1)) for c in boundary(t))
    return c_skip * x_t + c_out * x0


def pseudo_huber(a: Tensor, b: Tensor) -> Tensor:
    """E[sqrt(|a - b|^2 + c^2) - c] (Song & Dhariwal 2023, section 3.3), a scalar.

    c grows with the root of the number of entries n; everything is divided by sqrt(n), so that the loss means the same
    at every image size.
    """
    squares = (a - b).square().flatten(1).mean(1)
    return ((squares + HUBER**2).sqrt() - HUBER).mean()

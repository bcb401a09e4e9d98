"""Losses, one equation each. "ADD" is Sauer et al., arXiv 2311.17042; "NFSD" is Katzir et al., arXiv 2310.17590.

Logits come as a list with one tensor (B, positions) for each feature level k. Sums over k and means over images and
positions are taken as the equations say. All results are scalars unless a shape is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from naruto_add.diffusion.schedule import PredictionType

NFSD_CLEAN_BELOW = 200
"""Timesteps (of 1000) under which NFSD takes the unconditional score to hold no noise component (section 4.2)."""


def hinge_g(fake: Sequence[Tensor]) -> Tensor:
    """The student's adversarial loss, ADD equation 2: -E[sum_k D_k(F_k(x_hat))]."""
    return -torch.stack([logits.mean() for logits in fake]).sum()


def hinge_d(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """The heads' loss, ADD equation 3 without R1: E[sum_k max(0, 1 - D_k(real)) + max(0, 1 + D_k(fake))]."""
    on_real = torch.stack([F.relu(1 - logits).mean() for logits in real]).sum()
    on_fake = torch.stack([F.relu(1 + logits).mean() for logits in fake]).sum()
    return on_real + on_fake


def r1_penalty(logits: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
    """R1 of ADD equation 3: E[sum_k |grad of D_k at its input features|^2], on real images.

    `features` are the heads' inputs that `logits` were computed from, with requires_grad. D_k of an image is the sum
    over its positions. Differentiable: the double backward passes the heads only, never the feature network.
    """
    grads = torch.autograd.grad([x.sum() for x in logits], list(features), create_graph=True)
    return torch.stack([grad.square().flatten(1).sum(1).mean() for grad in grads]).sum()


def distillation(x_hat: Tensor, target: Tensor, c: Tensor) -> Tensor:
    """ADD equation 4: E[c(t) |x_hat - x_psi|^2], in whatever space the two are given; `c` is (B,).

    The squared norm is divided by the number of its entries, so that lambda means the same at every image size.
    """
    return (c.to(x_hat) * (x_hat - target).square().flatten(1).mean(1)).mean()


def exponential_weight(alpha: Tensor, sigma: Tensor) -> Tensor:
    """c(t) = alpha_t, ADD section 3.3: the more noise, the less the teacher's guess counts."""
    return alpha


def sds_weight(alpha: Tensor, sigma: Tensor) -> Tensor:
    """c(t) = alpha_t w(t) / (2 sigma_t), ADD appendix A, with DreamFusion's w(t) = sigma_t^2.

    With it the gradient of equation 4 is that of Score Distillation Sampling, w(t) (eps_psi - eps') (up to the number
    of entries, see `distillation`).
    """
    return alpha * sigma / 2


def nfsd_target(
    x_hat: Tensor,
    x_t: Tensor,
    alpha: Tensor,
    t: Tensor,
    x0_cond: Tensor,
    x0_uncond: Tensor,
    x0_negative: Tensor | None,
    scale: float,
) -> Tensor:
    """What takes x_psi's place in equation 4 for Noise-Free Score Distillation; use it with `sds_weight`.

    NFSD replaces eps_psi - eps' by delta_D + s delta_C with delta_C = eps(y) - eps(empty), and delta_D = eps(empty)
    for t < 200, else eps(empty) - eps(negative prompt); without a negative prompt the latter is left out. A difference
    of eps is -alpha/sigma times the difference of x0, hence everything here is in x0, which stays finite at alpha = 0.
    """
    delta_c = scale * (x0_cond - x0_uncond)
    domain = torch.zeros_like(x_hat) if x0_negative is None else x0_uncond - x0_negative
    clean = (t < NFSD_CLEAN_BELOW).to(x_hat.device).view(-1, *[1] * (x_hat.ndim - 1))
    safe_alpha = torch.where(clean, alpha, torch.ones_like(alpha))
    return x_hat + delta_c + torch.where(clean, x0_uncond - x_t / safe_alpha, domain)


def min_snr_weight(snr: Tensor, gamma: float, prediction_type: PredictionType) -> Tensor:
    """Min-SNR-gamma (Hang et al. 2023, section 3.4) for an eps loss, min(snr, g) / snr, or a v loss, / (snr + 1).

    Shape of `snr`, (B,). Note that it is 0 for v at zero terminal SNR: nothing would be learnt there.
    """
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1)
    return snr.clamp(max=gamma) / (snr + 1)

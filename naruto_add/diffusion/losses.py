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
    return torch.stack([F.relu(1 - logits).mean() for logits in real]).sum() + hinge_wrong(fake)


def hinge_wrong(logits: Sequence[Tensor]) -> Tensor:
    """The hinge on what the heads should refuse: E[sum_k max(0, 1 + D_k)].

    Of generated images it is the second half of ADD equation 3; of real images under another one's caption, the
    mismatched pairs of Reed et al. 2016 (algorithm 1).
    """
    return torch.stack([F.relu(1 + x).mean() for x in logits]).sum()


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
    return weighted((x_hat - target).square().flatten(1).mean(1), c)


def weighted(distances: Tensor, c: Tensor) -> Tensor:
    """E[c(t) d] of distances d (B,): the outer half of ADD equation 4, for any distance."""
    return (c.to(distances) * distances).mean()


def perceptual(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """How different two pictures look, (B,): equation 1 of LPIPS (Zhang et al. 2018), all channels weighted alike.

    `a` and `b` are feature maps (B, C_k, H_k, W_k). At every place the channels are brought to unit length; the squared
    differences are averaged over places and over levels, so the result lies in 0..4.
    """
    unit = [(F.normalize(x, dim=1, eps=1e-8), F.normalize(y, dim=1, eps=1e-8)) for x, y in zip(a, b, strict=True)]
    return torch.stack([(x - y).square().sum(1).mean((1, 2)) for x, y in unit]).mean(0)


def feature_distillation(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """L_FeatKD of BK-SDM (Kim et al. 2023): E[sum_l |f_T^l - f_S^l|^2], the squares divided by their number."""
    return torch.stack([(s - t).square().mean() for s, t in zip(student, teacher, strict=True)]).sum()


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

"""The frozen networks of a distillation, and what the teacher makes of the student's guess (ADD equation 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from naruto_add import rng
from naruto_add.config import DistillConfig
from naruto_add.diffusion import losses
from naruto_add.diffusion.dpm_solver import solve
from naruto_add.diffusion.guidance import predict
from naruto_add.diffusion.schedule import Schedule
from naruto_add.models.features import FeatureNet
from naruto_add.models.load import Autoencoder, Components, encode_text

WEIGHTS = {
    "exponential": losses.exponential_weight,
    "sds": losses.sds_weight,
    "nfsd": losses.sds_weight,
}
"""c(t) of equation 4; NFSD changes the target as well."""


@dataclass(frozen=True)
class Judges:
    """The frozen networks, and the base's schedule and empty caption."""

    teacher: UNet2DConditionModel
    vae: Autoencoder
    features: FeatureNet | None
    """What looks at pixels; None for the methods that stay among latents."""
    schedule: Schedule
    uncond_text: Tensor
    """(L, D): the empty caption."""
    negative_text: Tensor | None
    """(L, D): NFSD's negative prompt, if there is one."""

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.uncond_text.device


def freeze(
    config: DistillConfig,
    teacher: Components,
    features: FeatureNet | None,
    schedule: Schedule,
    device: torch.device | str,
) -> Judges:
    """The judges on the device, in eval mode, none of their weights asking for a gradient."""
    pixel_networks = [teacher.vae, *([] if features is None else [features])]
    for module in (teacher.unet, teacher.text_encoder, *pixel_networks):
        module.to(device).requires_grad_(False).eval()
    for convolutional in pixel_networks:
        convolutional.to(memory_format=torch.channels_last)  # a quarter faster on CPU
    prompts = ["", *([] if config.negative_prompt is None else [config.negative_prompt])]
    uncond, negative = [*encode_text(teacher, prompts)[0], None][:2]
    return Judges(teacher.unet, teacher.vae, features, schedule, uncond, negative)


@torch.no_grad()
def opinion(
    config: DistillConfig, judges: Judges, text: Tensor, x_hat: Tensor, positions: Sequence[int], seed: int
) -> tuple[Tensor, Tensor]:
    """What the teacher makes of a re-noised x_hat, as latents (B,C,h,w), and c(t) (B,): equation 4."""
    schedule = judges.schedule
    t = rng.integers(schedule.num_timesteps, seed, "teacher-timestep", positions)
    eps = rng.normal(x_hat.shape[1:], seed, "teacher-noise", positions).to(x_hat)
    x_t, scale = schedule.add_noise(x_hat, eps, t), config.teacher_guidance
    if config.weighting == "nfsd":
        target = nfsd_opinion(judges, text, x_hat, x_t, t, scale)
    else:
        target = solve(judges.teacher, schedule, x_t, t, text, judges.uncond_text, scale, config.teacher_steps)
    return target, WEIGHTS[config.weighting](schedule.alphas[t], schedule.sigmas[t])


@torch.no_grad()
def trajectory_end(config: DistillConfig, judges: Judges, text: Tensor, x_s: Tensor, s: Tensor) -> Tensor:
    """Where the guided teacher gets in `teacher_steps` solver steps from x_s (B,C,h,w) at s (B,), as latents."""
    scale = config.teacher_guidance
    return solve(judges.teacher, judges.schedule, x_s, s, text, judges.uncond_text, scale, config.teacher_steps)


def nfsd_opinion(judges: Judges, text: Tensor, x_hat: Tensor, x_t: Tensor, t: Tensor, scale: float) -> Tensor:
    """The target of Noise-Free Score Distillation, latents (B,C,h,w)."""
    texts = [text, judges.uncond_text.expand_as(text)]
    texts += [] if judges.negative_text is None else [judges.negative_text.expand_as(text)]
    output = predict(judges.teacher, x_t.repeat(len(texts), 1, 1, 1), t.repeat(len(texts)), torch.cat(texts))
    guesses = [judges.schedule.to_x0(part, x_t, t) for part in output.chunk(len(texts))]
    negative = guesses[2] if len(guesses) == 3 else None
    return losses.nfsd_target(x_hat, x_t, judges.schedule.alpha(t, x_t), t, guesses[0], guesses[1], negative, scale)

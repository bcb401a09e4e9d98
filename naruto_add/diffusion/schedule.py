"""Noise schedules: x_t = alpha_t x0 + sigma_t eps with alpha_t^2 + sigma_t^2 = 1, and conversions between targets.

Names: x0 the clean latent, eps the noise, v = alpha_t eps - sigma_t x0 (Salimans & Ho 2022), t the integer timestep
0..T-1. Everything is a pure function of tensors; `t` has shape (B,) and the others (B, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from naruto_add.errors import UserError

PredictionType = Literal["epsilon", "v_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Schedule:
    """The coefficients of a trained model: `alphas` and `sigmas` of shape (T,), float64, on CPU unless moved.

    A v-prediction base with zero terminal SNR has alphas[-1] = 0 exactly. An eps-prediction base cannot: x0 is not to
    be had from its eps there. For it, `student_input` starts from pure noise all the same (section 3.1 of ADD), while
    x0 is still computed with the alpha that the model was trained with, which is small but not zero.
    """

    alphas: Tensor
    sigmas: Tensor
    prediction_type: PredictionType

    @property
    def num_timesteps(self) -> int:
        """T, 1000 for Stable Diffusion."""
        return len(self.alphas)

    @property
    def terminal(self) -> int:
        """The last timestep, T - 1."""
        return self.num_timesteps - 1

    def to(self, device: torch.device) -> Schedule:
        """The same coefficients on `device`, for timesteps drawn there: picking them then waits for nothing."""
        return replace(self, alphas=self.alphas.to(device), sigmas=self.sigmas.to(device))

    def alpha(self, t: Tensor, like: Tensor) -> Tensor:
        """alpha_t, shaped to multiply `like` (B, ...), in its dtype and on its device."""
        return gather(self.alphas, t, like)

    def sigma(self, t: Tensor, like: Tensor) -> Tensor:
        """sigma_t, shaped to multiply `like` (B, ...), in its dtype and on its device."""
        return gather(self.sigmas, t, like)

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio (alpha_t / sigma_t)^2, shape (B,), float64, where the coefficients are."""
        return (self.alphas / self.sigmas)[t.to(self.alphas.device)].square()

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha_t x0 + sigma_t eps."""
        return self.alpha(t, x0) * x0 + self.sigma(t, x0) * eps

    def student_input(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_s of ADD: `add_noise`, but pure noise at the terminal timestep whatever the base (zero terminal SNR)."""
        terminal = (t == self.terminal).to(x0.device).view(-1, *[1] * (x0.ndim - 1))
        return torch.where(terminal, eps, self.add_noise(x0, eps, t))

    def to_x0(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The x0 of the model's output: (x_t - sigma eps) / alpha, or alpha x_t - sigma v."""
        alpha, sigma = self.alpha(t, x_t), self.sigma(t, x_t)
        if self.prediction_type == "epsilon":
            return (x_t - sigma * output) / alpha
        return alpha * x_t - sigma * output

    def to_eps(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The eps of the model's output: itself, or alpha v + sigma x_t."""
        if self.prediction_type == "epsilon":
            return output
        return self.alpha(t, x_t) * output + self.sigma(t, x_t) * x_t

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the model is trained to return: eps, or v = alpha eps - sigma x0."""
        if self.prediction_type == "epsilon":
            return eps
        return self.alpha(t, x0) * eps - self.sigma(t, x0) * x0


def gather(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values[t] of shape (B, 1, ..., 1), in the dtype and on the device of `like` (B, ...)."""
    picked = values[t.to(values.device)].to(like.device, like.dtype)
    return picked.view(-1, *[1] * (like.ndim - 1))


def load_schedule(scheduler_config: Mapping[str, Any]) -> Schedule:
    """The schedule of a diffusers scheduler config; betas as diffusers computes them, the rest in float64.

    Raises UserError for a prediction type other than epsilon or v_prediction.
    """
    prediction_type = scheduler_config.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        raise UserError(
            f"scheduler_config.json: prediction_type is {prediction_type!r}; naruto-add trains "
            f"{' and '.join(PREDICTION_TYPES)} models. Choose another base."
        )
    alphas_cumprod = ddim(scheduler_config).alphas_cumprod.double()
    return Schedule(alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt(), prediction_type)


def ddim(scheduler_config: Mapping[str, Any]) -> DDIMScheduler:
    """A DDIM scheduler with the base's betas, timestep spacing and prediction type."""
    return DDIMScheduler.from_config(dict(scheduler_config))

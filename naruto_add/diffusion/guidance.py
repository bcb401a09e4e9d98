"""Calls of a conditional UNet: plain, and with classifier-free guidance (Ho & Salimans 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def predict(unet: nn.Module, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
    """The UNet's raw output (eps or v) for x_t (B,C,h,w), t (B,) and text (B,L,D)."""
    return unet(x_t, t.to(x_t.device), encoder_hidden_states=text).sample


def predict_both(unet: nn.Module, x_t: Tensor, t: Tensor, text: Tensor, uncond_text: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs with the captions and with the empty one, in one batch of 2B; `uncond_text` is (L,D)."""
    texts = torch.cat([text, uncond_text.to(text).expand_as(text)])
    cond, uncond = predict(unet, torch.cat([x_t, x_t]), torch.cat([t, t]), texts).chunk(2)
    return cond, uncond


def guided(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """The output uncond + scale (cond - uncond): 0 ignores the caption, 1 is no guidance."""
    return uncond + scale * (cond - uncond)


def predict_guided(unet: nn.Module, x_t: Tensor, t: Tensor, text: Tensor, uncond_text: Tensor, scale: float) -> Tensor:
    """The guided output; at scale 1 the unconditional half is not computed."""
    if scale == 1:
        return predict(unet, x_t, t, text)
    return guided(*predict_both(unet, x_t, t, text, uncond_text), scale)

"""What makes bfloat16 autocast faster than float32 on a processor with matrix units (AMX): 1.8x on a `mini` UNet.

Convolutions and matrix products gain five times and more, but torch's fused attention is slow to differentiate in
bfloat16 on CPU, and its group norm takes three times what it does in float32.
"""

from __future__ import annotations

from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from naruto_add.config import Precision


class Float32GroupNorm(nn.GroupNorm):
    """A group norm that computes in float32 whatever it is given."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input, float32."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def suit_cpu(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same UNet with norms in float32 and attention in plain products: in place, its weights unchanged."""
    unet.set_attn_processor(AttnProcessor())
    for module in unet.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = Float32GroupNorm
    return unet


def is_suited(unet: nn.Module) -> bool:
    """Whether `suit_cpu` has been here."""
    return any(isinstance(module, Float32GroupNorm) for module in unet.modules())


def choose(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """What `auto` means on this device: bf16 where matrices of it are multiplied in hardware."""
    if precision != "auto":
        return precision
    on_cpu = device.type == "cpu"
    fast = torch.cpu._is_amx_tile_supported() if on_cpu else torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"

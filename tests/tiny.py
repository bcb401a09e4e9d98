"""Tiny but real models, built in process from a fixed seed: no files, no network, milliseconds.

They have the anatomy of the shipped `mini` base (three UNet stages of growing width, two layers per block, an
AutoencoderTiny whose scaling factor is not 1, a CLIP text encoder), so what works on them works on `mini`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from naruto_add.models.features import FeatureNet
from naruto_add.models.load import Components, encode_images, encode_text

SIZE_PX = 32
LATENT_PX = 8
TEXT_DIM = 32
MAX_TOKENS = 48

V_ZERO_SNR = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}
"""The schedule of the `mini` base."""

EPSILON = {**V_ZERO_SNR, "prediction_type": "epsilon", "rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
"""The schedule of Stable Diffusion 1.5."""


def tiny_unet(
    latent_channels: int = 4,
    widths: tuple[int, ...] = (8, 16, 24),
    seed: int = 0,
    adds_text: bool = False,
    condition_dim: int | None = None,
) -> UNet2DConditionModel:
    """A UNet of three stages, two layers per block, some 0.3 M parameters, random weights.

    `adds_text`: the text, pooled by the UNet itself, is added to the timestep's embedding. `condition_dim`: of
    a guidance scale's embedding, which is added too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=LATENT_PX,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=widths,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=2,
            norm_num_groups=8,
            attention_head_dim=8,
            cross_attention_dim=TEXT_DIM,
            addition_embed_type="text" if adds_text else None,
            addition_embed_type_num_heads=4,
            time_cond_proj_dim=condition_dim,
            use_linear_projection=True,
        )
    return unet.eval()


def tiny_vae(latent_channels: int = 4, seed: int = 1) -> AutoencoderTiny:
    """An autoencoder with factor 4: 32 x 32 pixels <-> 8 x 8 latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
            latent_channels=latent_channels,
            scaling_factor=0.8,
        )
    return vae.eval()


def tiny_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer without merges: one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(f"{letter}</w>" for letter in alphabet)]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=MAX_TOKENS)


def tiny_text_encoder(tokenizer: CLIPTokenizer, seed: int = 2) -> CLIPTextModel:
    """A CLIP text encoder of two layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_DIM,
        intermediate_size=2 * TEXT_DIM,
        projection_dim=TEXT_DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = CLIPTextModel(config)
    return encoder.eval()


def tiny_components(
    latent_channels: int = 4,
    scheduler_config: dict[str, object] = V_ZERO_SNR,
    widths: tuple[int, ...] = (8, 16, 24),
    adds_text: bool = False,
) -> Components:
    """A whole tiny text-to-image base; equal arguments give equal weights."""
    tokenizer = tiny_tokenizer()
    return Components(
        unet=tiny_unet(latent_channels, widths, adds_text=adds_text),
        vae=tiny_vae(latent_channels),
        text_encoder=tiny_text_encoder(tokenizer),
        tokenizer=tokenizer,
        scheduler_config=dict(scheduler_config),
    )


class TinyFeatures(FeatureNet):
    """A frozen random feature network of two levels."""

    def __init__(self, channels: tuple[int, ...] = (8, 16), seed: int = 3) -> None:
        super().__init__()
        widths = (3, *channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.channels = list(channels)
        self.name = "tiny"
        self.sha256 = "0" * 64
        self.requires_grad_(False).eval()

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps (B, channels[k], H / 2^(k+1), W / 2^(k+1)) of pixels in [-1, 1]."""
        maps = []
        for stage in self.stages:
            pixels = torch.nn.functional.leaky_relu(stage(pixels), 0.2)
            maps.append(pixels)
        return maps


def tiny_batch(components: Components, count: int = 2, seed: int = 4) -> dict[str, Tensor]:
    """Encoded random images: latents, text, pooled and pixels, as in a training batch."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, 3, SIZE_PX, SIZE_PX, generator=generator) * 2 - 1
    with torch.no_grad():
        text, pooled = encode_text(components, [f"ninja {i}" for i in range(count)])
        latents = encode_images(components.vae, pixels)
    return {"latents": latents, "text": text, "pooled": pooled, "pixels": pixels}

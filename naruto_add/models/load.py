"""Text-to-image bases: plain diffusers folders of the Stable Diffusion 1.x / 2.x anatomy, read and written.

A base is a UNet2DConditionModel, an autoencoder (AutoencoderKL or AutoencoderTiny), one CLIP text encoder with its
tokenizer, and a scheduler config. Only safetensors and JSON are read; no code comes from a checkpoint.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from naruto_add.artifact import write_json
from naruto_add.diffusion.schedule import ddim, load_schedule
from naruto_add.errors import UserError, raise_all
from naruto_add.models.folder import PARTS, base_folder, problems, read_json
from naruto_add.models.quiet import quiet

AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
Autoencoder: TypeAlias = "AutoencoderKL | AutoencoderTiny"
Module = TypeVar("Module", bound=torch.nn.Module)
Part = TypeVar("Part", UNet2DConditionModel, AutoencoderKL, AutoencoderTiny, CLIPTextModel)


@dataclass
class Components:
    """A base in memory. `scheduler_config` is the content of scheduler_config.json."""

    unet: UNet2DConditionModel
    vae: Autoencoder
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler_config: dict[str, Any]


def load_components(path_or_name: str | Path, revision: str | None = None) -> Components:
    """Load a base: `mini`, a diffusers folder, or a hub id with the commit to pin it to; float32, eval mode, on CPU.

    Raises UserError that lists all that is wrong with it: parts missing, of another architecture, or not matching.
    """
    folder = base_folder(str(path_or_name), revision)
    raise_all(problems(folder))
    try:
        with quiet():
            components = read_components(folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: its weights could not be read ({error}). Fetch the model again.") from error
    return components


def read_components(folder: Path) -> Components:
    """Load all parts of a folder that `problems` found in order."""
    scheduler_config = read_json(folder / PARTS["scheduler"][0])
    vae_config = read_json(folder / PARTS["vae"][0])
    assert scheduler_config is not None and vae_config is not None
    load_schedule(scheduler_config)
    vae_class = AUTOENCODERS[vae_config["_class_name"]]
    return Components(
        unet=whole(folder, UNet2DConditionModel, "unet"),
        vae=whole(folder, vae_class, "vae"),
        text_encoder=whole(folder, CLIPTextModel, "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        scheduler_config=scheduler_config,
    )


def whole(folder: Path, model: type[Part], part: str) -> Part:
    """Load one model; UserError if its file lacks weights that the config asks for (they would stay random)."""
    loaded, info = model.from_pretrained(
        folder / part,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        torch_dtype=torch.float32,
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{folder}/{part}: {len(missing)} weights are missing, first {missing[0]}. It is another "
            "architecture than its config says; fetch the model again."
        )
    return loaded.eval()


def save_components(components: Components, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a plain diffusers StableDiffusionPipeline folder: safetensors and JSON, weights in `dtype`."""
    pipeline = StableDiffusionPipeline(
        vae=cast(components.vae, dtype),
        text_encoder=cast(components.text_encoder, dtype),
        tokenizer=components.tokenizer,
        unet=cast(components.unet, dtype),
        scheduler=ddim(components.scheduler_config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with quiet():
        pipeline.save_pretrained(folder, safe_serialization=True)
    write_json(folder / PARTS["scheduler"][0], components.scheduler_config)
    forget_places(folder)
    write_for_transformers_4(folder)


def forget_places(folder: Path) -> None:
    """Take the folders that parts were loaded from out of their configs, so that equal models give equal files."""
    for path in folder.glob("*/config.json"):
        config = read_json(path)
        assert config is not None, "diffusers and transformers have just written it"
        write_json(path, {key: value for key, value in config.items() if key != "_name_or_path"})


def write_for_transformers_4(folder: Path) -> None:
    """Let transformers 4, which most users have, read the text encoder and tokenizer that transformers 5 wrote."""
    weights = folder / "text_encoder" / "model.safetensors"
    prefixed = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(weights).items()}
    save_file(prefixed, weights, metadata={"format": "pt"})
    tokenizer = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    write_json(folder / "tokenizer" / "vocab.json", tokenizer["vocab"])
    merges = "".join(f"{left} {right}\n" for left, right in tokenizer["merges"])
    (folder / "tokenizer" / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")


def cast(module: Module, dtype: torch.dtype) -> Module:
    """The module in `dtype`: itself if it is so already, else a copy."""
    if all(parameter.dtype == dtype for parameter in module.parameters()):
        return module
    return copy.deepcopy(module).to(dtype)


@torch.no_grad()
def encode_text(components: Components, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Text embeddings: last hidden states (N,L,D), as Stable Diffusion uses them, and the pooled one (N,P)."""
    tokens = components.tokenizer(
        list(captions),
        padding="max_length",
        max_length=components.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    output = components.text_encoder(tokens.input_ids.to(components.text_encoder.device))
    return output.last_hidden_state, output.pooler_output


@torch.no_grad()
def encode_images(vae: Autoencoder, pixels: Tensor) -> Tensor:
    """Latents (B,C,h,w), multiplied by the scaling factor, of pixels (B,3,H,W) in [-1, 1]; the mean, not a sample."""
    assert pixels.min() >= -1.001 and pixels.max() <= 1.001, "pixels must lie in [-1, 1]"
    encoded = vae.encode(pixels)
    latents = encoded.latents if isinstance(vae, AutoencoderTiny) else encoded.latent_dist.mode()
    return latents * vae.config.scaling_factor


def decode(vae: Autoencoder, latents: Tensor) -> Tensor:
    """Pixels (B,3,H,W), about [-1, 1] and not clamped, of scaled latents; differentiable."""
    return vae.decode(latents / vae.config.scaling_factor).sample


def latent_shape(unet: UNet2DConditionModel) -> tuple[int, int, int]:
    """(C, h, w) of the latents that the base was made for."""
    size = unet.config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return unet.config["in_channels"], height, width

"""The pictures and captions that the `mini` base learns from: the built-in universe without its ninja part."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from naruto_add.data.universe import caption, sample_scene
from naruto_add.data.universe.scene import WORLDS, Scene
from naruto_add.pretrain.base import Corpus
from naruto_add.pretrain.drawing import WORLD
from naruto_add.pretrain.text import Read


def captions(count: int, seed: int, world: str = WORLD) -> list[str]:
    """The captions of scenes [0, count), languages in turns."""
    scenes = (sample_scene(world, seed, index) for index in range(count))
    return [caption(scene, ("en", "fr")[index % 2]) for index, scene in enumerate(scenes)]


def tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token ids (N, L), padded and cut to the text encoder's length."""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


@torch.no_grad()
def encode_images(vae: AutoencoderTiny, images: Tensor, batch_size: int = 64) -> Tensor:
    """Unscaled latents (N, C, h, w) of uint8 images, which are where the autoencoder is."""
    encoded = []
    for start in range(0, len(images), batch_size):
        pixels = images[start : start + batch_size].float() / 127.5 - 1
        encoded.append(vae.encode(pixels.to(memory_format=torch.channels_last)).latents.contiguous())
    return torch.cat(encoded)


def load_images(path: Path, device: torch.device | str = "cpu") -> Tensor:
    """All of images.npy, uint8 (N, 3, 128, 128), in memory: drawing rows at random from disk is ten times slower."""
    return torch.from_numpy(np.load(path)).to(device)


def cached_latents(folder: Path, vae: AutoencoderTiny, images: Path) -> Tensor:
    """`encode_images`, once."""
    path = folder / "latents.safetensors"
    if not path.exists():
        save_file({"latents": encode_images(vae, load_images(images, vae.device))}, path)
    return load_file(path, device=str(vae.device))["latents"]


@torch.no_grad()
def read_captions(encoder: CLIPTextModel, tokens: Tensor, batch_size: int = 256) -> Tensor:
    """Last hidden states (N, L, D) of tokens (N, L), in half precision."""
    parts = tokens.to(encoder.device).split(batch_size)
    return torch.cat([encoder(part).last_hidden_state.half() for part in parts])


def build_corpus(
    latents: Tensor, scale: float, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str]
) -> Corpus:
    """Latents scaled to unit variance beside their captions as the text encoder reads them, all on one device."""
    text, empty = (read_captions(encoder, tokens(tokenizer, captions)) for captions in (texts, [""]))
    return Corpus(latents * scale, text, empty[0])


def scenes_to_read(count: int, seed: int, tokenizer: CLIPTokenizer) -> Read:
    """Captions of `count` scenes of each world, languages in turns, with all that the scenes are made of."""
    scenes = [sample_scene(world, seed, index) for world in WORLDS for index in range(count)]
    texts = [caption(scene, ("en", "fr")[index % 2]) for index, scene in enumerate(scenes)]
    fields = [field.name for field in dataclasses.fields(Scene) if field.name not in ("world", "seed")]
    return Read(tokens(tokenizer, texts), {field: numbered([getattr(s, field) for s in scenes]) for field in fields})


def numbered(values: Sequence[object]) -> Tensor:
    """Each value's place among all values, (N,)."""
    places = {value: place for place, value in enumerate(sorted(set(values), key=str))}
    return torch.tensor([places[value] for value in values])


def log_line(path: Path, metrics: dict[str, float]) -> None:
    """Append one JSON line."""
    import json

    with path.open("a") as file:
        file.write(json.dumps(metrics) + "\n")

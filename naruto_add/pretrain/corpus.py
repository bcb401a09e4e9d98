"""The pictures and captions that the `mini` base learns from: the built-in universe without its ninja part."""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.lib.format import open_memmap
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from naruto_add.data.universe import caption, draw, sample_scene
from naruto_add.pretrain.base import Corpus

WORLD = "base"
CHUNK = 256


def draw_images(folder: Path, count: int, seed: int, processes: int) -> Path:
    """Draw `count` scenes into images.npy (N, 3, 128, 128) uint8 and captions.json; goes on where it was stopped."""
    path, progress = folder / "images.npy", folder / "drawn"
    mode = "r+" if path.exists() else "w+"
    images = open_memmap(path, mode=mode, dtype=np.uint8, shape=(count, 3, 128, 128))
    done = int(progress.read_text()) if progress.exists() else 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        starts = range(done, count, CHUNK)
        for start, chunk in zip(starts, pool.imap(partial(draw_chunk, seed, count), starts), strict=True):
            images[start : start + len(chunk)] = chunk
            images.flush()
            progress.write_text(str(start + len(chunk)))
    return path


def draw_chunk(seed: int, count: int, start: int) -> np.ndarray:
    """Scenes [start, start + CHUNK) as uint8 (n, 3, 128, 128)."""
    pictures = [np.asarray(draw(WORLD, seed, i)[0]) for i in range(start, min(start + CHUNK, count))]
    return np.stack(pictures).transpose(0, 3, 1, 2)


def captions(count: int, seed: int, world: str = WORLD) -> list[str]:
    """The captions of scenes [0, count), languages in turns."""
    scenes = (sample_scene(world, seed, index) for index in range(count))
    return [caption(scene, ("en", "fr")[index % 2]) for index, scene in enumerate(scenes)]


def tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token ids (N, L), padded and cut to the text encoder's length."""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


@torch.no_grad()
def encode_images(vae: AutoencoderTiny, path: Path, batch_size: int = 64) -> Tensor:
    """Unscaled latents (N, C, h, w) of images.npy."""
    images = np.load(path, mmap_mode="r")
    encoded = []
    for start in range(0, len(images), batch_size):
        pixels = torch.from_numpy(images[start : start + batch_size].copy()).float() / 127.5 - 1
        encoded.append(vae.encode(pixels.to(memory_format=torch.channels_last)).latents.contiguous())
    return torch.cat(encoded)


def cached_latents(folder: Path, vae: AutoencoderTiny, images: Path) -> Tensor:
    """`encode_images`, once."""
    path = folder / "latents.safetensors"
    if not path.exists():
        save_file({"latents": encode_images(vae, images)}, path)
    return load_file(path)["latents"]


def build_corpus(latents: Tensor, scale: float, tokenizer: CLIPTokenizer, texts: list[str]) -> Corpus:
    """Latents scaled to unit variance beside the tokens of their captions."""
    return Corpus(latents * scale, tokens(tokenizer, texts), tokens(tokenizer, [""])[0])


def log_line(path: Path, metrics: dict[str, float]) -> None:
    """Append one JSON line."""
    import json

    with path.open("a") as file:
        file.write(json.dumps(metrics) + "\n")

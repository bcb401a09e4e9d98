"""The latent cache: images and captions encoded once, so that training needs neither autoencoder nor text encoder.

One safetensors file per shard, named by what it is made of (the shard's sha256 and the encoders' digest), so that an
interrupted encoding goes on where it stopped and nothing stale is ever read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from safetensors.torch import save_file

from naruto_add.artifact import canonical, flush, sha256_text
from naruto_add.data.cache import LatentCache
from naruto_add.data.shards import Shards
from naruto_add.models.load import Components, encode_images, encode_text

Tensors = dict[str, torch.Tensor]

DECODING = ("decoder.", "post_quant_conv.")
"""Parts of an autoencoder that have no say in latents: where fine-tuning changed them, the cache is still good."""


def encode(
    shards: Shards, split: str, components: Components, folder: Path, batch_size: int, device: torch.device | str
) -> LatentCache:
    """Encode a split into `folder`, shard by shard; what is there already is kept.

    The encoders are moved to `device` and left there. The text is stored in half precision (it is the largest part),
    latents and pooled embeddings in float32.
    """
    cache = plan(shards, split, components, folder)
    for module in (components.vae, components.text_encoder):
        module.to(device)
    if not cache.uncond.exists():
        write(cache.uncond, captions_of(components, [""]))
    for number, path in enumerate(cache.files):
        if not path.exists():
            write(path, encode_shard(shards, cache, number, components, batch_size))
    return cache


def plan(shards: Shards, split: str, components: Components, folder: Path) -> LatentCache:
    """The cache that `encode` would fill: its file names say what each file is made of."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, encoders = shards.shards(split), digest(components)
    names = [f"{Path(row['shard']).stem}-{sha256_text(row['sha256'] + encoders)[:16]}" for row in rows]
    return LatentCache(
        split=split,
        files=tuple(folder / f"{name}.safetensors" for name in names),
        ends=tuple(accumulate(row["count"] for row in rows)),
        uncond=folder / f"uncond-{encoders[:16]}.safetensors",
    )


def encode_shard(shards: Shards, cache: LatentCache, number: int, components: Components, batch_size: int) -> Tensors:
    """The encoded images and captions of one shard, in order."""
    ids = range((0, *cache.ends)[number], cache.ends[number])
    parts = []
    for chunk in chunks(ids, batch_size):
        pixels = shards.images(cache.split, chunk).to(components.vae.device) / 127.5 - 1
        latents = encode_images(components.vae, pixels).float().cpu()
        parts.append({"latents": latents, **captions_of(components, shards.captions(cache.split, chunk))})
    return {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}


def captions_of(components: Components, captions: list[str]) -> Tensors:
    """The encoded captions: text (N, L, D) in half precision, pooled (N, P) in float32."""
    text, pooled = encode_text(components, captions)
    return {"text": text.half().cpu(), "pooled": pooled.float().cpu()}


def digest(components: Components) -> str:
    """A hash of all that decides an encoding: both encoders' weights and configurations, and the tokenizer."""
    found = hashlib.sha256()
    configs = (dict(components.vae.config), components.text_encoder.config.to_dict())
    for module, config in zip((components.vae, components.text_encoder), configs, strict=True):
        found.update(canonical({key: str(value) for key, value in config.items() if decides(key)}).encode())
        for name, tensor in module.state_dict().items():
            if name.startswith(DECODING):
                continue
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    found.update(canonical(components.tokenizer.get_vocab()).encode())
    return found.hexdigest()


def decides(key: str) -> bool:
    """Whether a configuration's entry can change what a model computes (paths and versions cannot)."""
    return not key.startswith("_") and key not in ("transformers_version", "name_or_path")


def write(path: Path, tensors: Tensors) -> None:
    """Write a safetensors file aside, flush it to disk and rename it, so that it is never half-written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    save_file(tensors, aside)
    flush(aside)
    aside.replace(path)


def chunks(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Consecutive parts of at most `size` ids."""
    return (ids[start : start + size] for start in range(0, len(ids), size))

"""Folders of text-to-image bases, judged from their JSON files alone: no torch, so that mistakes are told at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from naruto_add.artifact import canonical, sha256_file, sha256_text
from naruto_add.errors import UserError
from naruto_add.shipped import ASSETS

MINI = ASSETS / "mini" / "base"
"""The base shipped in the package."""
MINI_HEAD_START = MINI.parent / "head_start"
"""The few-step vector shipped for the mini base."""
HEAD_START_FILE = "unet.safetensors"
AUTOENCODER_CLASSES = ("AutoencoderKL", "AutoencoderTiny")
PARTS = {
    "unet": ("unet/config.json", "UNet2DConditionModel"),
    "vae": ("vae/config.json", "AutoencoderKL or AutoencoderTiny"),
    "text_encoder": ("text_encoder/config.json", "CLIPTextModel"),
    "tokenizer": ("tokenizer/tokenizer_config.json", "CLIPTokenizer"),
    "scheduler": ("scheduler/scheduler_config.json", "a noise schedule"),
}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
TOKENIZER_FILES = ["tokenizer/*"]
HUB_FILES = (
    ["model_index.json", "tokenizer/*", "scheduler/*.json"]
    + [
        f"{part}/{name}"
        for part in ("unet", "vae", "text_encoder")
        for name in (
            "config.json",
            "diffusion_pytorch_model.safetensors",
            "model.safetensors",
            "*.safetensors.index.json",
        )
    ]
    + ["unet/diffusion_pytorch_model-*-of-*.safetensors"]
)


def base_place(name: str, revision: str | None) -> Path | None:
    """The folder of a base on this machine, or None for a hub id with its commit; raises UserError for neither."""
    if name == "mini":
        return MINI
    if Path(name).is_dir():
        return Path(name)
    if Path(name).exists() or not HUB_ID.fullmatch(name):
        raise UserError(
            f"base {name}: not a folder. Give `mini`, a diffusers folder (with unet/, vae/, text_encoder/, "
            "tokenizer/ and scheduler/), or a hub id like owner/name with its commit as revision."
        )
    if revision is None or not COMMIT.fullmatch(revision):
        raise UserError(
            f"base {name}: no such folder here, and as a hub id it needs `revision`, the 40-digit commit to pin it "
            "to (see the model page under Files, History)."
        )
    return None


def base_folder(name: str, revision: str | None) -> Path:
    """Where the base lies on this machine; downloads a hub id's safetensors and JSON into the hub's cache."""
    place = base_place(name, revision)
    if place is not None:
        return place
    assert revision is not None, "base_place lets no hub id through without its commit"
    return download(name, revision)


def download(hub_id: str, revision: str) -> Path:
    """Fetch the files that we read, and no others, from the hub's cache or the hub; UserError if it does not answer."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"base {hub_id}@{revision[:12]}: neither in the hub cache nor to be had from the hub "
            f"({type(error).__name__}). Check the id, the commit, your access and the network, or give a folder."
        ) from error


def base_digest(name: str, revision: str | None, patterns: Sequence[str] = HUB_FILES) -> str:
    """What names a base's content: the hash of its files that match `patterns`, or a hub id with its commit."""
    folder = base_place(name, revision)
    if folder is None:
        return f"{name}@{revision}"
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return sha256_text(canonical({path.relative_to(folder).as_posix(): sha256_file(path) for path in files}))


def head_start_folder(name: str) -> Path:
    """The folder of a head start: `mini` is the one shipped in the package."""
    return MINI_HEAD_START if name == "mini" else Path(name)


def problems(folder: Path) -> list[str]:
    """All that keeps `folder` from being a base of ours, from its JSON files alone; empty if nothing does."""
    found = {part: read_json(folder / file) for part, (file, _) in PARTS.items()}
    configs = {part: config for part, config in found.items() if config is not None}
    missing = [
        f"{folder / file} is missing or not JSON; it should hold {what}"
        for part, (file, what) in PARTS.items()
        if part not in configs
    ]
    if missing:
        return [*missing, *hints(folder)]
    return [*class_problems(folder, configs), *match_problems(folder, configs)]


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def hints(folder: Path) -> list[str]:
    """What the folder seems to be instead, where that can be told."""
    if (folder / "transformer").is_dir():
        return [f"{folder} is a transformer model (SD3, FLUX, PixArt); naruto-add needs a UNet, as in SD 1.5 and 2.1"]
    if any(folder.glob("*.ckpt")) or any(folder.glob("*.safetensors")):
        return [f"{folder} holds a single-file checkpoint; convert it with diffusers' from_single_file first"]
    if (folder / "manifest.json").is_file():
        return [f"{folder} is an artifact of naruto-add; give the diffusers folder inside it"]
    return []


def class_problems(folder: Path, configs: Mapping[str, dict[str, Any]]) -> list[str]:
    """Parts of a class that we do not train."""
    found = []
    unet, vae, text = configs["unet"], configs["vae"], configs["text_encoder"]
    if unet.get("_class_name") != "UNet2DConditionModel":
        found.append(f"{folder}/unet is a {unet.get('_class_name')}, not a UNet2DConditionModel")
    if vae.get("_class_name") not in AUTOENCODER_CLASSES:
        found.append(f"{folder}/vae is a {vae.get('_class_name')}, not one of {', '.join(AUTOENCODER_CLASSES)}")
    if text.get("model_type") not in ("clip_text_model", "clip"):
        found.append(f"{folder}/text_encoder is a {text.get('model_type')}, not a CLIP text encoder")
    if (folder / "text_encoder_2").is_dir() or unet.get("addition_embed_type") not in (None, "text"):
        found.append(f"{folder} has a second text encoder (SDXL); naruto-add trains SD 1.x and 2.x bases")
    return found


def match_problems(folder: Path, configs: Mapping[str, dict[str, Any]]) -> list[str]:
    """Parts that do not fit each other."""
    found = []
    unet, vae, text = configs["unet"], configs["vae"], configs["text_encoder"]
    latent, hidden = vae.get("latent_channels"), text.get("hidden_size")
    if unet.get("in_channels") != latent or unet.get("out_channels") != latent:
        found.append(
            f"{folder}: the UNet maps {unet.get('in_channels')} channels to {unet.get('out_channels')}, the "
            f"autoencoder's latents have {latent} (an inpainting or upscaling model?)"
        )
    if unet.get("cross_attention_dim") != hidden:
        found.append(
            f"{folder}: the UNet expects text of width {unet.get('cross_attention_dim')}, the encoder gives {hidden}"
        )
    return found

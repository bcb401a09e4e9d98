"""Make the `mini` base from nothing: python jobs/pretrain.py --work DIR --out naruto_add/assets/mini/base

Draws the base world, learns the tokenizer, trains the autoencoder, the text encoder and the UNet. Stopped anywhere, the
same command goes on. With `--device cuda` batches are larger and there are more of them (`PACES`); every update is one
CUDA graph. The shipped base was made so: see the model card beside it.
"""

from __future__ import annotations

import argparse
import functools
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from naruto_add.diffusion.schedule import load_schedule
from naruto_add.models.features import load_features
from naruto_add.models.load import Components, save_components
from naruto_add.pretrain import architecture, corpus
from naruto_add.pretrain.autoencoder import AutoencoderConfig, train_autoencoder
from naruto_add.pretrain.base import BaseConfig, train_base
from naruto_add.pretrain.drawing import draw_images
from naruto_add.pretrain.text import TextConfig, train_text_encoder

TOKENIZER_CAPTIONS = 4000
TEXT_SCENES = 10_000


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How much of everything: scenes to draw, crops of 64 px for the autoencoder, images for the UNet; batches."""

    images: int
    autoencoder_images: int
    decoder_images: int
    autoencoder_batch: int
    base_images: int
    base_batch: int
    ema_decay: float
    checkpoint_updates: int = 200
    log_updates: int = 20


PACES = {
    "cpu": Pace(
        images=32_000, autoencoder_images=48_000, decoder_images=60_000, autoencoder_batch=8, base_images=480_000,
        base_batch=32, ema_decay=0.998,
    ),
    "cuda": Pace(
        images=131_072, autoencoder_images=861_120, decoder_images=320_576, autoencoder_batch=64,
        base_images=2_031_616, base_batch=256, ema_decay=0.9995, checkpoint_updates=5000, log_updates=100,
    ),
}  # fmt: skip
"""A processor's pace takes some four hours of two cores; a GPU's eight minutes of an H200 and 16 cores that draw."""


def arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for drawings and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="diffusers folder to write")
    parser.add_argument("--device", choices=tuple(PACES), default="cpu", help="what trains, and with it the pace")
    parser.add_argument("--images", type=int, help="scenes to draw")
    parser.add_argument("--autoencoder-images", type=int, help="crops of 64 px for the autoencoder")
    parser.add_argument("--decoder-images", type=int, help="crops of 64 px for the decoder alone")
    parser.add_argument("--base-images", type=int, help="images for the UNet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--stage", choices=("draw", "text", "whole", "decoder", "base"), default="base", help="stop after this one"
    )
    return parser.parse_args()


def pace(args: argparse.Namespace) -> Pace:
    """The device's, with what flags say instead."""
    flags = {field.name: getattr(args, field.name, None) for field in fields(Pace)}
    return replace(PACES[args.device], **{name: value for name, value in flags.items() if value is not None})


def tokenizer(work: Path, seed: int) -> CLIPTokenizer:
    """Learned once from captions of both worlds: a tokenizer has seen words, not pictures, as CLIP's has."""
    folder = work / "tokenizer"
    if not folder.exists():
        texts = [text for world in ("base", "ninja") for text in corpus.captions(TOKENIZER_CAPTIONS, seed, world)]
        architecture.build_tokenizer(texts).save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def trained(args: argparse.Namespace, images: Path, config: AutoencoderConfig, start: Path | None) -> Path:
    """One part of the autoencoder's training, from the weights in `start`; the file with its weights."""
    path = args.work / f"{config.part}.safetensors"
    if path.exists():
        return path
    torch.manual_seed(args.seed)
    model = architecture.build_autoencoder()
    if start is not None:
        model.load_state_dict(load_file(start))
    features = load_features("efficientnet_lite0").to(args.device).to(memory_format=torch.channels_last)
    pixels = corpus.load_images(images, args.device)
    log = functools.partial(corpus.log_line, args.work / f"{config.part}.jsonl")
    model = model.to(args.device, memory_format=torch.channels_last)
    train_autoencoder(model, features, pixels, config, args.work / config.part, log)
    save_file({name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}, path)
    return path


def autoencoder_config(args: argparse.Namespace, images: int, **settings: Any) -> AutoencoderConfig:
    """The settings of one part of the autoencoder's training."""
    batch, updates = pace(args).autoencoder_batch, pace(args).checkpoint_updates
    return AutoencoderConfig(
        images=images, batch_size=batch, checkpoint_images=updates * batch, seed=args.seed, **settings
    )  # fmt: skip


def autoencoder(path: Path) -> architecture.AutoencoderTiny:
    """The autoencoder with the weights of a file."""
    model = architecture.build_autoencoder()
    model.load_state_dict(load_file(path))
    return model.to(memory_format=torch.channels_last).eval()


def reader(args: argparse.Namespace, words: CLIPTokenizer) -> architecture.CLIPTextModel:
    """The trained text encoder."""
    torch.manual_seed(args.seed + 2)
    encoder, path = architecture.build_text_encoder(words), args.work / "text.safetensors"
    if path.exists():
        encoder.load_state_dict(load_file(path))
        return encoder.eval()
    log = functools.partial(corpus.log_line, args.work / "text.jsonl")
    read = corpus.scenes_to_read(TEXT_SCENES, args.seed, words)
    train_text_encoder(encoder, read, TextConfig(seed=args.seed), log)
    save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, path)
    return encoder


def base(args: argparse.Namespace, vae: architecture.AutoencoderTiny, images: Path) -> Components:
    """The trained base."""
    words, how_much = tokenizer(args.work, args.seed), pace(args)
    torch.manual_seed(args.seed + 1)
    unet = architecture.build_unet().to(args.device, memory_format=torch.channels_last)
    text_encoder = reader(args, words).to(args.device)
    vae.to(args.device)
    latents = corpus.cached_latents(args.work, vae, images)
    scale = round(1 / latents.std().item(), 4)
    vae.register_to_config(scaling_factor=scale)
    material = corpus.build_corpus(latents, scale, text_encoder, words, corpus.captions(how_much.images, args.seed))
    log = functools.partial(corpus.log_line, args.work / "base.jsonl")
    schedule = load_schedule(architecture.SCHEDULER).to(unet.device)
    config = BaseConfig(
        images=how_much.base_images, batch_size=how_much.base_batch, warmup_images=100 * how_much.base_batch,
        ema_decay=how_much.ema_decay,
        checkpoint_images=how_much.checkpoint_updates * how_much.base_batch, log_updates=how_much.log_updates,
        seed=args.seed,
    )  # fmt: skip
    train_base(unet, schedule, material, config, args.work / "base", log)
    return Components(unet.cpu(), vae.cpu(), text_encoder.cpu(), words, architecture.SCHEDULER)


def main() -> None:
    """Every stage in turn."""
    args = arguments()
    how_much = pace(args)
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    images = draw_images(args.work, how_much.images, args.seed, args.threads)
    if args.stage == "draw":
        return
    if args.stage == "text":
        reader(args, tokenizer(args.work, args.seed))
        return
    whole = trained(args, images, autoencoder_config(args, how_much.autoencoder_images), None)
    if args.stage == "whole":
        return
    second = autoencoder_config(
        args, how_much.decoder_images, part="decoder", learning_rate=1e-3, perceptual_weight=1.0
    )
    if args.stage == "decoder":
        trained(args, images, second, whole)
        return
    components = base(args, autoencoder(whole), images)
    scale = components.vae.config.scaling_factor
    components.vae = autoencoder(trained(args, images, second, whole))
    components.vae.register_to_config(scaling_factor=scale)
    save_components(components, args.out, torch.float16)


if __name__ == "__main__":
    main()

"""Make the `mini` base from nothing: python jobs/pretrain.py --work DIR --out naruto_add/assets/mini/base

Draws the base world, learns the tokenizer, trains the autoencoder, the text encoder and the UNet. Stopped anywhere, the
same command goes on. The shipped base was trained with `--base-images 300000`, then on with 480000: its learning rate
fell, rose and fell again, where one run with 480000 falls once.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

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


def arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for drawings and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="diffusers folder to write")
    parser.add_argument("--images", type=int, default=32_000, help="scenes to draw")
    parser.add_argument("--autoencoder-images", type=int, default=48_000, help="crops of 64 px for the autoencoder")
    parser.add_argument("--decoder-images", type=int, default=60_000, help="crops of 64 px for the decoder alone")
    parser.add_argument("--base-images", type=int, default=480_000, help="images for the UNet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--stage", choices=("draw", "text", "whole", "decoder", "base"), default="base", help="stop after this one"
    )
    return parser.parse_args()


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
    features = load_features("efficientnet_lite0").to(memory_format=torch.channels_last)
    pixels = corpus.load_images(images)
    log = functools.partial(corpus.log_line, args.work / f"{config.part}.jsonl")
    model = model.to(memory_format=torch.channels_last)
    train_autoencoder(model, features, pixels, config, args.work / config.part, log)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


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
    words = tokenizer(args.work, args.seed)
    torch.manual_seed(args.seed + 1)
    unet = architecture.build_unet().to(memory_format=torch.channels_last)
    text_encoder = reader(args, words)
    latents = corpus.cached_latents(args.work, vae, images)
    scale = round(1 / latents.std().item(), 4)
    vae.register_to_config(scaling_factor=scale)
    material = corpus.build_corpus(latents, scale, text_encoder, words, corpus.captions(args.images, args.seed))
    log = functools.partial(corpus.log_line, args.work / "base.jsonl")
    schedule = load_schedule(architecture.SCHEDULER)
    config = BaseConfig(images=args.base_images, seed=args.seed)
    train_base(unet, schedule, material, config, args.work / "base", log)
    return Components(unet, vae, text_encoder, words, architecture.SCHEDULER)


def main() -> None:
    """Every stage in turn."""
    args = arguments()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    images = draw_images(args.work, args.images, args.seed, args.threads)
    if args.stage == "draw":
        return
    if args.stage == "text":
        reader(args, tokenizer(args.work, args.seed))
        return
    whole = trained(args, images, AutoencoderConfig(images=args.autoencoder_images, seed=args.seed), None)
    if args.stage == "whole":
        return
    second = AutoencoderConfig(
        images=args.decoder_images, part="decoder", learning_rate=1e-3, perceptual_weight=1.0, seed=args.seed
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

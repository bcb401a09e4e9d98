"""The networks of a run on the meta device: their true architecture, no weights, no memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from naruto_add.config import DistillConfig, Recipe, TeacherConfig
from naruto_add.diffusion.schedule import load_schedule
from naruto_add.distill.build import build_eyes
from naruto_add.distill.judges import Judges
from naruto_add.errors import UserError
from naruto_add.finetune import EYES, add_lora
from naruto_add.models.discriminator import Panel
from naruto_add.models.features import FeatureNet, empty_features
from naruto_add.models.folder import PARTS, base_place, read_json
from naruto_add.models.load import AUTOENCODERS, Autoencoder
from naruto_add.models.quiet import quiet
from naruto_add.models.student import student_config
from naruto_add.plan.published import PUBLISHED, Architecture

META = torch.device("meta")


@dataclass(frozen=True)
class Networks:
    """All that fine-tuning and distillation hold in memory."""

    teacher: UNet2DConditionModel
    """As it is fine-tuned: with adapters, if the recipe asks for them, and then all else frozen."""
    student: UNet2DConditionModel
    vae: Autoencoder
    text_encoder: CLIPTextModel
    features: FeatureNet | None
    heads: Panel | None
    """The discriminator; None for the methods without one."""
    judge: UNet2DConditionModel
    """The teacher as it teaches: frozen, adapters merged."""
    tuned: Autoencoder | None
    """The autoencoder as fine-tuning holds it, where its decoder learns."""
    eyes: FeatureNet | None
    """What the decoder's perceptual distance is measured with."""


def architecture(teacher: TeacherConfig) -> Architecture:
    """The base's configurations: from its folder, or as published; raises UserError where neither is to be had."""
    place = base_place(teacher.base, teacher.revision)
    if place is not None:
        return read_architecture(place)
    if teacher.base in PUBLISHED:
        return PUBLISHED[teacher.base]
    raise UserError(
        f"teacher.base {teacher.base}: its architecture is not known here without a download. Give the folder that it "
        f"was downloaded to, or one of {', '.join(PUBLISHED)}."
    )


def read_architecture(folder: Path) -> Architecture:
    """The configurations in a diffusers folder that `models.folder.problems` found in order."""
    configs: dict[str, Mapping[str, Any]] = {
        part: read_json(folder / file) or {} for part, (file, _) in PARTS.items() if part != "tokenizer"
    }
    return Architecture(**configs)


def build(recipe: Recipe, base: Architecture) -> Networks:
    """The networks of the recipe; raises UserError where the surgery does not fit the base."""
    distill = recipe.distill
    unet = {**base.unet, "sample_size": recipe.data.size_px // downscale(base)}
    with META, quiet():
        judge = UNet2DConditionModel.from_config(unet).requires_grad_(False).eval()
        student = UNet2DConditionModel.from_config(student_config(judge.config, distill.size)).train()
        vae, tuned = build_autoencoder(base.vae), build_autoencoder(base.vae) if recipe.teacher.decoder_share else None
        eyes = None if tuned is None else empty_features(EYES)
        text_encoder = CLIPTextModel(CLIPTextConfig(**base.text_encoder)).requires_grad_(False).eval()
        features = empty_features(distill.features) if distill.method == "add" else None
        heads = build_heads(distill, judge, vae, features, base)
        teacher = build_teacher(recipe.teacher, unet, recipe.seed)
    if tuned is not None:
        tuned.decoder.requires_grad_(True)
    return Networks(teacher, student, vae, text_encoder, features, heads, judge, tuned, eyes)


def build_autoencoder(config: Mapping[str, Any]) -> Autoencoder:
    """An autoencoder of this configuration, frozen."""
    vae_class: Any = AUTOENCODERS[config["_class_name"]]
    vae: Autoencoder = vae_class.from_config(dict(config)).requires_grad_(False).eval()
    return vae


def build_teacher(config: TeacherConfig, unet: Mapping[str, Any], seed: int) -> UNet2DConditionModel:
    """The UNet that is fine-tuned."""
    teacher = UNet2DConditionModel.from_config(dict(unet)).requires_grad_(config.lora_rank is None).train()
    if config.lora_rank is not None:
        add_lora(teacher, config.lora_rank, seed)
    return teacher


def build_heads(
    config: DistillConfig,
    judge: UNet2DConditionModel,
    vae: Autoencoder,
    features: FeatureNet | None,
    base: Architecture,
) -> Panel | None:
    """The discriminator of the adversarial methods."""
    if config.method not in ("add", "ladd"):
        return None
    schedule = load_schedule(dict(base.scheduler))
    judges = Judges(judge, vae, features, schedule, torch.empty(0), None)
    eyes = build_eyes(config, judges, base.text_encoder["hidden_size"])
    return Panel([(eye.channels, eye.condition_size) for eye in eyes])


def downscale(base: Architecture) -> int:
    """Pixels a latent, along a side."""
    blocks = base.vae.get("encoder_block_out_channels") or base.vae["block_out_channels"]
    return 2 ** (len(blocks) - 1)


def count(module: nn.Module | None) -> int:
    """Parameters of a module; none of none."""
    return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())

"""What all experiments share: a folder, addressed chance, and a run's parts in miniature."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from naruto_add import artifact, rng
from naruto_add import recipe as recipes
from naruto_add.artifact import Artifact
from naruto_add.config import DataConfig, Recipe
from naruto_add.data.prepare import prepare
from naruto_add.models.load import Components, save_components
from naruto_add.pretrain import architecture

SIZE_PX = 32
LATENT_PX = 4
WIDTHS = (8, 16, 24)
CAPTIONS = ("a ninja in the rain", "un ninja sous la pluie")


@dataclass(frozen=True)
class Setting:
    """Where an experiment works, and what it draws its chance from."""

    folder: Path
    seed: int
    stack: ExitStack
    """What must be closed at the end of the experiment is entered here."""
    bundle: Path | None = None
    """What the soak serves."""

    def chance(self, name: str, trial: int) -> random.Random:
        """Chance that is a function of seed, experiment and trial."""
        return random.Random(rng.address(self.seed, f"chaos/{name}", trial))

    @cached_property
    def base(self) -> Path:
        """A base with the anatomy of `mini`, a hundredth of its size and random weights: a diffusers folder."""
        folder = self.folder / "base"
        save_components(tiny_base(), folder)
        return folder

    @cached_property
    def shards(self) -> Artifact:
        """Sixteen training and four held-out drawings of 32 px."""
        config = DataConfig(size_px=SIZE_PX, num_images=16, num_heldout=4, shard_images=6)
        return artifact.build(
            self.folder / "shards", kind="shards", config={}, parents={}, make=lambda path: prepare(config, 0, path)
        )

    @cached_property
    def recipe(self) -> Recipe:
        """`smoke` on the tiny base: ADD, two micro-batches a step, in this process."""
        smoke = recipes.load("smoke")
        optim = replace(smoke.distill.optim, images=24, accumulation=2, checkpoint_images=8, learning_rate=1e-3)
        return replace(
            smoke,
            teacher=replace(smoke.teacher, base=str(self.base)),
            distill=replace(smoke.distill, head_start=None, optim=optim),
            compute=replace(smoke.compute, launcher="inline", workers=1, zero_stage=None),
        )


def tiny_base() -> Components:
    """The parts of `mini`, all made small; always the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = architecture.build_tokenizer(CAPTIONS)
        config = {**architecture.build_unet().config, "block_out_channels": WIDTHS, "sample_size": LATENT_PX}
        unet = UNet2DConditionModel.from_config({**config, "norm_num_groups": 8})
        vae, text_encoder = architecture.build_autoencoder(), architecture.build_text_encoder(tokenizer)
    return Components(unet.eval(), vae.eval(), text_encoder.eval(), tokenizer, architecture.SCHEDULER)

"""Fine-tuning of a Stable Diffusion base: every step denoises real latents at random timesteps.

The target is the base's own (eps, or v of Salimans & Ho 2022), weighted by min-SNR (Hang et al. 2023). Some captions
are replaced by the empty one, so that guidance keeps working. With `compact_share`, some steps pass through the blocks
that the compact student will keep, so that the surgery of the distill stage hurts less. With `decoder_share`, the
autoencoder's decoder learns from the same images (see `decoder`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor

from naruto_add import rng
from naruto_add.config import TeacherConfig
from naruto_add.data.batch import Batch
from naruto_add.diffusion.guidance import predict
from naruto_add.diffusion.losses import min_snr_weight
from naruto_add.diffusion.samplers import initial_noise, sample_teacher
from naruto_add.diffusion.schedule import Schedule, load_schedule
from naruto_add.errors import UserError
from naruto_add.finetune.decoder import DecoderTuning
from naruto_add.models.features import load_features
from naruto_add.models.load import Autoencoder, Components, decode, encode_text, latent_shape
from naruto_add.models.student import Size, tie
from naruto_add.training.engine import EngineFactory, TorchEngine, autocast
from naruto_add.training.method import mean_terms
from naruto_add.training.pace import learning_rate
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""The attention projections get adapters, as in Hu et al. 2022."""
PREVIEW_STEPS = 25
PREVIEW_GUIDANCE = 3.0
EYES = "efficientnet_lite0"
"""What the decoder's perceptual distance is measured with; scores are not."""


class FineTune:
    """The method: the teacher-to-be, and perhaps its decoder, a player each. See `build_finetune`."""

    def __init__(
        self,
        config: TeacherConfig,
        base: Components,
        player: Player,
        compact: UNet2DConditionModel,
        decoder: DecoderTuning | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.config = config
        self.base = base
        self.player = player
        self.compact = compact
        """The path through the student's blocks; its parameters are the player's own. The whole UNet, if unused."""
        self.decoder = decoder
        """The second player, where the recipe has one."""
        self.players = {"teacher": player} if decoder is None else {"teacher": player, "decoder": decoder.player}
        self.needs_pixels = decoder is not None
        self.schedule: Schedule = load_schedule(base.scheduler_config)
        self.uncond_text = encode_text(base, [""])[0][0]
        self.autocast = partial(autocast, self.uncond_text.device, precision)

    def step(self, batch: Batch, state: TrainState) -> dict[str, float]:
        """One update of all players; returns mean losses, gradient norms and the learning rate."""
        unet, micros = self._path(state), batch.to(self.uncond_text.device).split(self.config.optim.accumulation)
        log = {"loss": fmean([self._backward(unet, micro, state.seed) for micro in micros])}
        if self.decoder is not None:
            log |= mean_terms([self.decoder.backward(micro, state.seed) for micro in micros])
        for player in self.players.values():
            player.check()  # before any is updated
        lr = learning_rate(self.config.optim, state.images_after)
        log |= {"grad_norm": self.player.step(lr), "lr": lr}
        return log if self.decoder is None else log | {"decoder_grad_norm": self.decoder.step(state.images_after)}

    def _backward(self, unet: torch.nn.Module, micro: Batch, seed: int) -> float:
        """The gradients of one micro-batch; returns its loss."""
        with self.autocast():
            loss = self.loss(unet, micro, seed)
        self.player.backward(loss)
        return float(loss.detach())

    def loss(self, unet: torch.nn.Module, batch: Batch, seed: int) -> Tensor:
        """E[w(t) |output - target|^2] over timesteps t uniform in 0..T-1, squares divided by their number."""
        x0, schedule = batch.latents, self.schedule
        t = rng.integers(schedule.num_timesteps, seed, "finetune-timestep", batch.positions)
        eps = rng.normal(x0.shape[1:], seed, "finetune-noise", batch.positions).to(x0)
        output = predict(unet, schedule.add_noise(x0, eps, t), t, self._text(batch, seed))
        errors = (output - schedule.target(x0, eps, t)).square().flatten(1).mean(1)
        return (self._weight(t).to(errors) * errors).mean()

    def _path(self, state: TrainState) -> torch.nn.Module:
        """What the batch passes through: the whole UNet, or for `compact_share` of the steps the student's blocks."""
        draw = rng.uniform(state.seed, "finetune-path", [state.global_step]).item()
        return self.compact if draw < self.config.compact_share else self.player.module

    def _text(self, batch: Batch, seed: int) -> Tensor:
        """The captions' embeddings (B, L, D), `text_dropout` of them replaced by the empty caption's."""
        dropped = rng.uniform(seed, "finetune-text", batch.positions) < self.config.text_dropout
        return torch.where(dropped.to(batch.text.device).view(-1, 1, 1), self.uncond_text.to(batch.text), batch.text)

    def _weight(self, t: Tensor) -> Tensor:
        """w(t), shape (B,): min-SNR, or 1.

        At zero terminal SNR the formula gives v no weight at all; there 1 is used, because sampling starts there.
        """
        if self.config.snr_gamma is None:
            return torch.ones(len(t))
        snr = self.schedule.snr(t)
        weight = min_snr_weight(snr, self.config.snr_gamma, self.schedule.prediction_type)
        return torch.where(snr > 0, weight, torch.ones_like(weight))

    @property
    def parts(self) -> dict[str, torch.nn.Module]:
        """See `Method.parts`."""
        parts = {name: player.module for name, player in self.players.items()}
        return parts if self.compact is self.player.module else parts | {"teacher, compact path": self.compact}

    @torch.no_grad()
    def preview(self, prompts: Sequence[str]) -> Tensor:
        """The averaged teacher's guided pictures (N,3,H,W) of the prompts, from fixed noise."""
        text = encode_text(self.base, prompts)[0]
        x_T = initial_noise(latent_shape(self.base.unet), 0, range(len(prompts))).to(text)
        x0 = sample_teacher(
            self.player.ema, self.base.scheduler_config, x_T, text, self.uncond_text, PREVIEW_STEPS, PREVIEW_GUIDANCE
        )
        return decode(self._vae(), x0)

    def _vae(self) -> Autoencoder:
        """The autoencoder as it is now."""
        return self.base.vae if self.decoder is None else self.decoder.averaged()

    def components(self) -> Components:
        """The averaged teacher as a base, adapters merged, to be saved."""
        base, unet = self.base, copy.deepcopy(self.player.ema)
        assert isinstance(unet, UNet2DConditionModel)
        if self.config.lora_rank is not None:
            unet.fuse_lora()
            unet.unload_lora()
        return Components(unet, self._vae(), base.text_encoder, base.tokenizer, base.scheduler_config)


def build_finetune(
    config: TeacherConfig,
    base: Components,
    size: Size,
    seed: int,
    engine: EngineFactory = TorchEngine,
    device: torch.device | str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
) -> FineTune:
    """Set up the player on `device`; `base` is moved there and its UNet is what learns.

    `size` is the student's, for `compact_share`. Raises UserError if the recipe does not fit the base.
    """
    check_paths(config)
    for frozen in (base.vae, base.text_encoder):
        frozen.to(device).requires_grad_(False).eval()
    unet = base.unet.to(device).requires_grad_(config.lora_rank is None).train()
    if config.optim.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if config.lora_rank is not None:
        add_lora(unet, config.lora_rank, seed)
    player = Player("teacher", unet, config.optim, engine)
    compact = tie(unet, size) if config.compact_share > 0 else unet
    decoder = None
    if config.decoder_share > 0:
        features = load_features(EYES).to(device)
        decoder = DecoderTuning(config, base.vae, features, engine, partial(autocast, torch.device(device), precision))
    return FineTune(config, base, player, compact, decoder, precision)


def check_paths(config: TeacherConfig) -> None:
    """Raise UserError for adapters in a UNet that is to be cut."""
    if config.lora_rank is not None and config.compact_share > 0:
        raise UserError(
            "teacher.compact_share trains all weights of the blocks that the student keeps, teacher.lora_rank only "
            "adapters: set one of them to 0 or null."
        )


def add_lora(unet: UNet2DConditionModel, rank: int, seed: int) -> None:
    """Add low-rank adapters (Hu et al. 2022) to the attention; they change nothing until trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.address(seed, "lora"))
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS)))

"""Adversarial Diffusion Distillation (Sauer et al., arXiv 2311.17042, "ADD") into a compact student.

One step: the gradients of two turns, then both updates.
 1. The student's turn. Real latents x0 are noised to one of its few timesteps, x_s = alpha_s x0 + sigma_s eps, and it
    guesses x_hat. The frozen autoencoder turns x_hat into pixels. Two judges see them: the heads on a frozen feature
    network (equation 2), and the teacher, which denoises a re-noised x_hat with guidance (equation 4).
 2. The heads' turn: the hinge loss with R1 (equation 3) on real images and on the very images of the student's turn,
    detached. The student is not run again.
Only the student learns in 1 and only the heads in 2; teacher, autoencoder and feature network never do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from naruto_add import rng
from naruto_add.config import DistillConfig, OptimConfig
from naruto_add.data.batch import Batch
from naruto_add.diffusion import losses
from naruto_add.diffusion.guidance import predict, predict_guided
from naruto_add.diffusion.samplers import few_steps, initial_noise, renoise_noises, sample_student
from naruto_add.diffusion.schedule import Schedule, load_schedule
from naruto_add.errors import UserError
from naruto_add.models.augment import augment
from naruto_add.models.discriminator import Heads, condition_of
from naruto_add.models.features import FeatureNet
from naruto_add.models.folder import head_start_folder
from naruto_add.models.load import Autoencoder, Components, decode, encode_text
from naruto_add.models.student import add_head_start, inherit
from naruto_add.training.engine import EngineFactory, TorchEngine, autocast
from naruto_add.training.pace import learning_rate
from naruto_add.training.player import Player, frozen
from naruto_add.training.state import TrainState

CONDITIONS = {"none": (False, False), "text": (True, False), "image": (False, True), "both": (True, True)}
"""Whether the heads see the caption's embedding, and the features of x0."""
WEIGHTS = {
    "exponential": losses.exponential_weight,
    "sds": losses.sds_weight,
    "nfsd": losses.sds_weight,
}
"""c(t) of equation 4; NFSD changes the target as well."""


@dataclass(frozen=True)
class Judges:
    """The frozen networks, and the base's schedule and empty caption."""

    teacher: UNet2DConditionModel
    vae: Autoencoder
    features: FeatureNet
    schedule: Schedule
    uncond_text: Tensor
    """(L, D): the empty caption."""
    negative_text: Tensor | None
    """(L, D): NFSD's negative prompt, if there is one."""


@dataclass(frozen=True)
class Shown:
    """What one micro-batch's student turn leaves for the heads, all detached."""

    batch: Batch
    real: Tensor
    """Real pixels (B, 3, H, W)."""
    fake: Tensor
    """The student's pixels (B, 3, H, W)."""
    real_maps: list[Tensor]
    fake_maps: list[Tensor]
    condition: Tensor | None


class Add:
    """The method: two players, the student and the discriminator heads. See `build_add`."""

    def __init__(
        self,
        config: DistillConfig,
        base: Components,
        judges: Judges,
        student: Player,
        heads: Player,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.config = config
        self.base = base
        self.judges = judges
        self.student = student
        self.heads = heads
        self.players = {"student": student, "heads": heads}
        self.needs_pixels = config.real_images == "pixels"
        self.autocast = partial(autocast, judges.uncond_text.device, precision)

    def step(self, batch: Batch, state: TrainState) -> dict[str, float]:
        """One update of the student, then `heads_steps` of the heads; returns the mean terms of all micro-batches."""
        micro_batches = batch.to(self.judges.uncond_text.device).split(self.config.optim.accumulation)
        turns = [self._student_turn(micro, state) for micro in micro_batches]
        shown = [left for left, _ in turns]
        log = mean_terms([terms for _, terms in turns]) | self._heads_turn(shown, 0, state)
        for player in self.players.values():
            player.check()  # before either is updated
        lr = learning_rate(self.config.optim, state.images_after)
        log |= {"student_grad_norm": self.student.step(lr), "lr": lr, "heads_grad_norm": self._update_heads(state)}
        for turn in range(1, self.config.heads_steps):
            log |= self._heads_turn(shown, turn, state) | {"heads_grad_norm": self._update_heads(state)}
        return log

    def _student_turn(self, batch: Batch, state: TrainState) -> tuple[Shown, dict[str, float]]:
        """Equation 1 on one micro-batch: the gradients reach the student, and the student alone."""
        config, judges = self.config, self.judges
        with self.autocast():
            x_hat, knows_x0 = self._guess(batch, state.seed)
            fake = decode(judges.vae, x_hat).float()
            real, real_maps = self._real(batch, state.seed)
            fake_maps = self._see(fake, 0, batch.positions, state.seed)
            target, c = self._target(batch, x_hat.detach(), state.seed)
        condition = self._condition(batch, real_maps, knows_x0)
        with frozen(self.heads):
            adversarial = losses.hinge_g(self.heads.module(fake_maps, condition))
        distillation = losses.distillation(fake, target, c)
        adversarial_weight = config.adversarial_weight * ramp(state.images_after, config.adversarial_warmup_images)
        loss = adversarial_weight * adversarial + config.distill_weight * distillation
        self.student.backward(loss)
        terms = {"adversarial": adversarial, "distillation": distillation, "student_loss": loss}
        terms |= {"adversarial_weighted": adversarial_weight * adversarial}
        terms |= {"distillation_weighted": config.distill_weight * distillation}
        shown = Shown(batch, real, fake.detach(), real_maps, [m.detach() for m in fake_maps], condition)
        return shown, {name: float(value.detach()) for name, value in terms.items()}

    def _guess(self, batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
        """x_hat (B,C,h,w), the student's x0 at a drawn timestep, and whether it saw anything of x0 there (B,)."""
        x0, schedule = batch.latents, self.judges.schedule
        draws = rng.uniform(seed, "student-timestep", batch.positions)
        t = draw_timesteps(draws, self.config.student_timesteps, self.config.terminal_share)
        eps = rng.normal(x0.shape[1:], seed, "student-noise", batch.positions).to(x0)
        x_s = schedule.student_input(x0, eps, t)
        x_hat = schedule.to_x0(predict(self.student.module, x_s, t, batch.text), x_s, t)
        return x_hat, t != schedule.terminal

    @torch.no_grad()
    def _real(self, batch: Batch, seed: int) -> tuple[Tensor, list[Tensor]]:
        """Real pixels and the feature maps of their augmentation."""
        pixels = batch.pixels if self.needs_pixels else decode(self.judges.vae, batch.latents).float()
        assert pixels is not None, "this method needs batches with pixels"
        return pixels, self._see(pixels, 0, batch.positions, seed)

    def _see(self, pixels: Tensor, turn: int, positions: list[int], seed: int) -> list[Tensor]:
        """Feature maps of augmented pixels (B,3,H,W).

        The draws depend on the position and the turn alone: a real image and the student's at its place get the same.
        """
        seen = augment(pixels, seed, f"augment-{turn}", positions) if self.config.augment else pixels
        return [level.float() for level in self.judges.features(seen)]

    def _condition(self, batch: Batch, real_maps: list[Tensor], knows_x0: Tensor) -> Tensor | None:
        """What the heads are told of each image, the same for the real one and the student's."""
        by_text, by_image = CONDITIONS[self.config.conditioning]
        image = FeatureNet.pool(real_maps) if by_image else None
        return condition_of(batch.pooled if by_text else None, image, knows_x0)

    @torch.no_grad()
    def _target(self, batch: Batch, x_hat: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The teacher's pixels (B,3,H,W) for a re-noised x_hat, and c(t) (B,): equation 4."""
        schedule = self.judges.schedule
        t = rng.integers(schedule.num_timesteps, seed, "teacher-timestep", batch.positions)
        eps = rng.normal(x_hat.shape[1:], seed, "teacher-noise", batch.positions).to(x_hat)
        x_t = schedule.add_noise(x_hat, eps, t)
        choose = self._nfsd_target if self.config.weighting == "nfsd" else self._guided_target
        target = choose(batch.text, x_hat, x_t, t)
        return decode(self.judges.vae, target), WEIGHTS[self.config.weighting](schedule.alphas[t], schedule.sigmas[t])

    def _guided_target(self, text: Tensor, x_hat: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x_psi: x0 as the guided teacher sees it in x_t."""
        judges = self.judges
        output = predict_guided(judges.teacher, x_t, t, text, judges.uncond_text, self.config.teacher_guidance)
        return judges.schedule.to_x0(output, x_t, t)

    def _nfsd_target(self, text: Tensor, x_hat: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The target of Noise-Free Score Distillation."""
        judges = self.judges
        texts = [text, judges.uncond_text.expand_as(text)]
        texts += [] if judges.negative_text is None else [judges.negative_text.expand_as(text)]
        output = predict(judges.teacher, x_t.repeat(len(texts), 1, 1, 1), t.repeat(len(texts)), torch.cat(texts))
        guesses = [judges.schedule.to_x0(part, x_t, t) for part in output.chunk(len(texts))]
        negative = guesses[2] if len(guesses) == 3 else None
        alpha, scale = judges.schedule.alpha(t, x_t), self.config.teacher_guidance
        return losses.nfsd_target(x_hat, x_t, alpha, t, guesses[0], guesses[1], negative, scale)

    def _heads_turn(self, shown: list[Shown], turn: int, state: TrainState) -> dict[str, float]:
        """Equation 3 on all micro-batches: gradients for the heads, and the mean terms."""
        return mean_terms([self._judge(*self._maps(left, turn, state.seed), left.condition) for left in shown])

    def _update_heads(self, state: TrainState) -> float:
        """One update of the heads; returns the norm of their gradient."""
        return self.heads.step(learning_rate(heads_optim(self.config), state.images_after))

    @torch.no_grad()
    def _maps(self, shown: Shown, turn: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
        """Feature maps of the real and the student's images: those of the student's turn, later newly augmented."""
        if turn == 0:
            return shown.real_maps, shown.fake_maps
        with self.autocast():
            positions = shown.batch.positions
            return self._see(shown.real, turn, positions, seed), self._see(shown.fake, turn, positions, seed)

    def _judge(self, real_maps: list[Tensor], fake_maps: list[Tensor], condition: Tensor | None) -> dict[str, float]:
        """Equation 3 on one micro-batch: gradients for the heads."""
        inputs = [level.detach().requires_grad_() for level in real_maps]
        real, fake = self.heads.module(inputs, condition), self.heads.module(fake_maps, condition)
        hinge, gamma = losses.hinge_d(real, fake), self.config.r1_gamma
        r1 = losses.r1_penalty(real, inputs) if gamma else torch.zeros_like(hinge)
        loss = hinge + gamma * r1
        self.heads.backward(loss)
        terms = {"hinge": hinge, "r1": r1, "r1_weighted": gamma * r1, "heads_loss": loss}
        return {name: float(value.detach()) for name, value in terms.items()} | verdicts(real, fake)

    @torch.no_grad()
    def preview(self, prompts: Sequence[str]) -> Tensor:
        """The averaged student's pictures (N,3,H,W) of the prompts, one row for each number of steps, most first."""
        text, _ = encode_text(self.base, prompts)
        known = self.config.student_timesteps
        rows = [self._draw(text, few_steps(known, steps)) for steps in (len(known), 1)]
        return torch.cat(rows)

    def _draw(self, text: Tensor, timesteps: tuple[int, ...]) -> Tensor:
        """Pixels (B,3,H,W) of the averaged student from fixed noise."""
        unet, shape = self.student.ema, latent_shape(self.judges.teacher)
        places = range(len(text))
        noises = [n.to(text) for n in renoise_noises(shape, 0, places, len(timesteps))]
        x_T = initial_noise(shape, 0, places).to(text)
        return decode(self.judges.vae, sample_student(unet, self.judges.schedule, x_T, text, timesteps, noises))

    def components(self) -> Components:
        """The averaged student as a base, to be saved."""
        base = self.base
        return Components(self.student.ema, base.vae, base.text_encoder, base.tokenizer, base.scheduler_config)


def build_add(
    config: DistillConfig,
    teacher: Components,
    features: FeatureNet,
    seed: int = 0,
    engine: EngineFactory = TorchEngine,
    device: torch.device | str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Add:
    """Cut the student out of the teacher, add the head start, and set up the two players.

    `engine` is the student's; the heads' is always plain torch, because R1 differentiates twice. `teacher` is moved to
    `device` and frozen. Raises UserError if the recipe does not fit the teacher.
    """
    schedule = load_schedule(teacher.scheduler_config)
    check_timesteps(config, schedule)
    student = build_student(config, teacher.unet).to(device)
    judges = freeze(config, teacher, features, schedule, device)
    by_text, by_image = CONDITIONS[config.conditioning]
    size = by_text * teacher.text_encoder.config.hidden_size + by_image * features.pooled_size
    heads = build_heads(features.channels, size, seed).to(device)
    players = Player("student", student, config.optim, engine), Player("heads", heads, heads_optim(config))
    return Add(config, teacher, judges, *players, precision)


def check_timesteps(config: DistillConfig, schedule: Schedule) -> None:
    """Raise UserError unless the student learns to start from pure noise."""
    if schedule.terminal not in config.student_timesteps:
        raise UserError(
            f"distill.student_timesteps {config.student_timesteps} must hold {schedule.terminal}, the base's last "
            "timestep: the student starts there from pure noise."
        )


def build_student(config: DistillConfig, teacher: UNet2DConditionModel) -> UNet2DConditionModel:
    """The student before its first step: surgery on the teacher, and the head start if there is one."""
    student, _ = inherit(teacher, config.size)
    if config.head_start is not None:
        add_head_start(student, head_start_folder(config.head_start))
    if config.optim.gradient_checkpointing:
        student.enable_gradient_checkpointing()
    return student.requires_grad_(True).train()


def build_heads(channels: Sequence[int], condition_size: int, seed: int) -> Heads:
    """The heads before their first step: a function of the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.address(seed, "heads"))
        return Heads(channels, condition_size)


def heads_optim(config: DistillConfig) -> OptimConfig:
    """The heads' optimizer: the student's pace and batches, their own learning rate, no moving average."""
    return replace(config.optim, learning_rate=config.heads_learning_rate, ema_images=0)


def freeze(
    config: DistillConfig, teacher: Components, features: FeatureNet, schedule: Schedule, device: torch.device | str
) -> Judges:
    """The judges on the device, in eval mode, none of their weights asking for a gradient."""
    for module in (teacher.unet, teacher.vae, teacher.text_encoder, features):
        module.to(device).requires_grad_(False).eval()
    for convolutional in (teacher.vae, features):
        convolutional.to(memory_format=torch.channels_last)  # a quarter faster on CPU
    prompts = ["", *([] if config.negative_prompt is None else [config.negative_prompt])]
    uncond, negative = [*encode_text(teacher, prompts)[0], None][:2]
    return Judges(teacher.unet, teacher.vae, features, schedule, uncond, negative)


def draw_timesteps(draws: Tensor, student_timesteps: Sequence[int], terminal_share: float) -> Tensor:
    """One of the student's timesteps for each draw in [0, 1): the last with `terminal_share`, the others alike."""
    *others, terminal = sorted(student_timesteps)
    if not others:
        return torch.full_like(draws, terminal, dtype=torch.long)
    place = (draws - terminal_share) / max(1 - terminal_share, 1e-9) * len(others)
    among = torch.tensor(others)[place.long().clamp(0, len(others) - 1)]
    return torch.where(draws < terminal_share, terminal, among)


def ramp(images: int, warmup_images: int) -> float:
    """Rises linearly from 0 to 1 over `warmup_images`; 1 without any."""
    return min(1.0, images / warmup_images) if warmup_images else 1.0


def verdicts(real: Sequence[Tensor], fake: Sequence[Tensor]) -> dict[str, float]:
    """Mean logits of real and generated images, their gap, and the gap at each feature level."""
    on_real, on_fake = [float(x.detach().mean()) for x in real], [float(x.detach().mean()) for x in fake]
    gaps = {f"logit_gap_{k}": r - f for k, (r, f) in enumerate(zip(on_real, on_fake, strict=True))}
    means = {"d_real": fmean(on_real), "d_fake": fmean(on_fake), "logit_gap": fmean(gaps.values())}
    return means | gaps


def mean_terms(terms: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each named number over the micro-batches."""
    return {name: fmean(term[name] for term in terms) for name in terms[0]}


def latent_shape(unet: UNet2DConditionModel) -> tuple[int, int, int]:
    """(C, h, w) of the latents that the base was made for."""
    size = unet.config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return unet.config["in_channels"], height, width

"""The peer of our ADD step: the same arithmetic in one plain loop, without players, engines, feeds, guards or logs."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import chain
from typing import Literal

import torch
from torch import Tensor

from naruto_add.config import DistillConfig
from naruto_add.data.batch import Batch
from naruto_add.diffusion import losses
from naruto_add.diffusion.dpm_solver import solve
from naruto_add.diffusion.guidance import predict
from naruto_add.diffusion.schedule import load_schedule
from naruto_add.distill.add import build_panel, heads_optim
from naruto_add.distill.build import build_eyes, build_student
from naruto_add.distill.judges import freeze
from naruto_add.distill.method import draw_timesteps
from naruto_add.models.augment import augment
from naruto_add.models.discriminator import condition_of
from naruto_add.models.features import FeatureNet
from naruto_add.models.load import Components, decode
from naruto_add.training.engine import adamw, autocast
from naruto_add.training.pace import ema_decay


def as_written_here(config: DistillConfig) -> DistillConfig:
    """The settings with those that decide the arithmetic set to what `BareAdd` does."""
    return replace(
        config, method="add", head_start=None, target="trajectory", scales=(1,), two_spaces=False, mismatch_weight=0.0,
        simulated_share=0.0, heads_steps=1, heads_renewal=0.0, real_images="pixels", augment=True, conditioning="both",
        perceptual_weight=0.1, synthetic_steps=0, adversarial_warmup_images=0,
    )  # fmt: skip


class BareAdd:
    """Everything that one step needs, and the step."""

    def __init__(
        self, config: DistillConfig, teacher: Components, features: FeatureNet, precision: Literal["fp32", "bf16"]
    ) -> None:
        self.config, self.features, self.precision = config, features, precision
        self.student = build_student(config, teacher.unet)
        self.judges = freeze(config, teacher, features, load_schedule(teacher.scheduler_config), "cpu")
        self.heads = build_panel(build_eyes(config, self.judges, teacher.text_encoder.config.hidden_size), 0)
        self.ema = copy.deepcopy(self.student).requires_grad_(False)
        self.student_adamw = adamw(self.student.parameters(), config.optim)
        self.heads_adamw = adamw(self.heads.parameters(), heads_optim(config))

    def step(self, batch: Batch) -> float:
        """One update of student and heads; returns the student's loss."""
        with autocast(self.judges.device, self.precision):
            fake_pixels, distance, knows_x0 = self.guess(batch)
            with torch.no_grad():
                assert batch.pixels is not None
                real = self.maps(batch.pixels, batch.positions)
            fake = self.maps(fake_pixels, batch.positions)
        condition = condition_of(batch.pooled, FeatureNet.pool(real), knows_x0)
        self.heads.requires_grad_(False)
        adversarial = losses.hinge_g(self.heads([fake], [condition]))
        self.heads.requires_grad_(True)
        loss = self.config.adversarial_weight * adversarial + self.config.distill_weight * distance
        loss.backward()
        self.judge(real, [level.detach() for level in fake], condition)
        self.update()
        return float(loss.detach())

    def guess(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The student's pixels (B,3,H,W), their distance to the teacher's, and who saw anything of x0 (B,)."""
        config, judges, schedule = self.config, self.judges, self.judges.schedule
        s = draw_timesteps(torch.rand(len(batch)), config.student_timesteps, config.terminal_share)
        x_s = schedule.student_input(batch.latents, torch.randn_like(batch.latents), s)
        x_hat = schedule.to_x0(predict(self.student, x_s, s, batch.text), x_s, s).float()
        pixels = decode(judges.vae, x_hat).float()
        scale, steps = config.teacher_guidance, config.teacher_steps
        target = solve(judges.teacher, schedule, x_s, s, batch.text, judges.uncond_text, scale, steps)
        with torch.no_grad():
            target = decode(judges.vae, target).float()
            wanted = [level.float() for level in self.features(target)]
        unlike = losses.perceptual([level.float() for level in self.features(pixels)], wanted).mean()
        distance = (pixels - target).square().mean() + config.perceptual_weight * unlike
        return pixels, distance, s != schedule.terminal

    def maps(self, pixels: Tensor, positions: list[int]) -> list[Tensor]:
        """Feature maps of augmented pixels."""
        return [level.float() for level in self.features(augment(pixels, 0, "augment", positions))]

    def judge(self, real: list[Tensor], fake: list[Tensor], condition: Tensor | None) -> None:
        """Gradients of the hinge and of R1 for the heads."""
        inputs = [[level.detach().requires_grad_() for level in real]]
        on_real, on_fake = self.heads(inputs, [condition]), self.heads([fake], [condition])
        r1 = losses.r1_penalty(on_real, [*chain.from_iterable(inputs)])
        (losses.hinge_d(on_real, on_fake) + self.config.r1_gamma * r1).backward()

    @torch.no_grad()
    def update(self) -> None:
        """Clip, step, average."""
        for module, optimizer in ((self.student, self.student_adamw), (self.heads, self.heads_adamw)):
            torch.nn.utils.clip_grad_norm_(module.parameters(), self.config.optim.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for mean, now in zip(self.ema.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(now, 1 - ema_decay(self.config.optim))

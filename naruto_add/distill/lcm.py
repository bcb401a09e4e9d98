"""Latent consistency distillation (Luo et al. 2023, arXiv 2310.04378, "LCM"), with one fixed guidance scale.

The student at a timestep of a grid must agree with its own average one guided DDIM step of the teacher further down
(algorithm 1; section 4.2: the solver with guidance, 4.3: skipping steps). The average is the player's, of half-life
`optim.ema_images`; with 0 it is the student itself, without gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from naruto_add import rng
from naruto_add.data.batch import Batch
from naruto_add.diffusion.consistency import consistency, pseudo_huber
from naruto_add.diffusion.ddim import ddim_step
from naruto_add.diffusion.guidance import predict, predict_guided
from naruto_add.distill.method import Regression

SKIP = 25
"""k: timesteps that one step of the solver crosses, such that the grid of 40 holds every valid student timestep."""


class ConsistencyDistillation(Regression):
    """The method: one player, the student."""

    def terms(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        """The consistency distillation loss of LCM, algorithm 1, on one micro-batch."""
        x0, schedule = batch.latents, self.judges.schedule
        t = SKIP * (1 + rng.integers(schedule.num_timesteps // SKIP, seed, "lcm-timestep", batch.positions)) - 1
        eps = rng.normal(x0.shape[1:], seed, "lcm-noise", batch.positions).to(x0)
        x_t = schedule.student_input(x0, eps, t)
        guess = self.guess(self.student.module, x_t, t, batch.text)
        loss = pseudo_huber(guess, self.target(x_t, t, batch.text))
        return {"student_loss": loss, "consistency": loss}

    def guess(self, unet: nn.Module, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """f(x_t, t), the end of the trajectory through x_t as the network sees it."""
        return consistency(self.judges.schedule.to_x0(predict(unet, x_t, t, text), x_t, t), x_t, t)

    @torch.no_grad()
    def target(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """The averaged student's guess one guided step of the teacher further down; x itself at the end."""
        judges, before = self.judges, (t - SKIP).clamp(min=0)
        output = predict_guided(judges.teacher, x_t, t, text, judges.uncond_text, self.config.teacher_guidance)
        x_before = ddim_step(judges.schedule, output, x_t, t, before)
        return self.guess(self.student.ema, x_before, before, text)

"""What all distillations share: the student, its inputs, its pictures, and the step of those without opponents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from naruto_add import rng
from naruto_add.data.batch import Batch
from naruto_add.diffusion.samplers import denoise, few_steps, initial_noise, renoise_noises, sample_student
from naruto_add.diffusion.schedule import Schedule
from naruto_add.distill.judges import Judges
from naruto_add.distill.setup import Setup
from naruto_add.models.load import Components, decode, encode_text, latent_shape
from naruto_add.training.engine import autocast
from naruto_add.training.method import mean_terms, numbers
from naruto_add.training.pace import learning_rate
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState


class Distillation(ABC):
    """A `training.method.Method` whose result is a student that samples in a few steps."""

    needs_pixels = False

    def __init__(self, setup: Setup, judges: Judges, student: Player) -> None:
        self.config = setup.config
        self.base = setup.teacher
        self.judges = judges
        self.student = student
        self.players = {"student": student}
        self.autocast = partial(autocast, judges.device, setup.precision)

    @abstractmethod
    def step(self, batch: Batch, state: TrainState) -> dict[str, float]:
        """One update of every player; returns the mean terms of all micro-batches."""

    def micro_batches(self, batch: Batch) -> list[Batch]:
        """The batch on the device, in `accumulation` parts."""
        return batch.to(self.judges.device).split(self.config.optim.accumulation)

    def student_input(self, batch: Batch, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """x_s (B,C,h,w), its timestep s (B,) and whether anything of x0 is in it (B,).

        s is one of the student's few, and x_s the noised x0: section 3.1 of ADD. For `simulated_share` of the images
        x0 gives way to what the student itself makes of pure noise on its way to s: DMD2's backward simulation
        (arXiv 2405.14867, section 4.5), which trains it on what it meets when it samples.
        """
        config, x0, schedule = self.config, batch.latents, self.judges.schedule
        draws = rng.uniform(seed, "student-timestep", batch.positions)
        s = draw_timesteps(draws, config.student_timesteps, config.terminal_share)
        knows_x0 = s != schedule.terminal
        if config.simulated_share:
            simulated = rng.uniform(seed, "simulate", batch.positions) < config.simulated_share
            own = simulate(self.student.module, schedule, batch, s, config.student_timesteps, seed)
            x0 = torch.where(simulated.to(x0.device).view(-1, 1, 1, 1), own, x0)
            knows_x0 &= ~simulated
        eps = rng.normal(x0.shape[1:], seed, "student-noise", batch.positions).to(x0)
        return schedule.student_input(x0, eps, s), s, knows_x0

    @property
    def parts(self) -> dict[str, nn.Module]:
        """See `Method.parts`."""
        judges = self.judges
        parts: dict[str, nn.Module | None] = {"student": self.student.module, "teacher": judges.teacher}
        parts |= {"decode": judges.vae.decoder, "features": judges.features}
        return {name: module for name, module in parts.items() if module is not None}

    @torch.no_grad()
    def preview(self, prompts: Sequence[str]) -> Tensor:
        """The averaged student's pictures (N,3,H,W) of the prompts, one row for each number of steps, most first."""
        rows = [self.draw(prompts, range(len(prompts)), steps) for steps in (len(self.config.student_timesteps), 1)]
        return torch.cat(rows)

    @torch.no_grad()
    def draw(self, prompts: Sequence[str], places: Sequence[int], steps: int, seed: int = 0) -> Tensor:
        """Pixels (B,3,H,W) of the averaged student in so many steps; `places` address each picture's noise."""
        text, _ = encode_text(self.base, prompts)
        unet, shape = self.student.ema, latent_shape(self.judges.teacher)
        noises = [n.to(text) for n in renoise_noises(shape, seed, places, steps)]
        x_T, timesteps = initial_noise(shape, seed, places).to(text), few_steps(self.config.student_timesteps, steps)
        return decode(self.judges.vae, sample_student(unet, self.judges.schedule, x_T, text, timesteps, noises))

    def components(self) -> Components:
        """The averaged student as a base, to be saved."""
        base = self.base
        return Components(self.student.ema, base.vae, base.text_encoder, base.tokenizer, base.scheduler_config)


class Regression(Distillation):
    """A distillation in which only the student learns, by a loss on each micro-batch."""

    @abstractmethod
    def terms(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        """Scalars of one micro-batch, among them `student_loss`, which is differentiable."""

    def step(self, batch: Batch, state: TrainState) -> dict[str, float]:
        """See `Distillation.step`."""
        logs = []
        for micro in self.micro_batches(batch):
            with self.autocast():
                terms = self.terms(micro, state.seed)
            self.student.backward(terms["student_loss"])
            logs.append(numbers(terms))
        lr = learning_rate(self.config.optim, state.images_after)
        return mean_terms(logs) | {"student_grad_norm": self.student.step(lr), "lr": lr}


def draw_timesteps(draws: Tensor, student_timesteps: Sequence[int], terminal_share: float) -> Tensor:
    """One of the student's timesteps for each draw in [0, 1): the last with `terminal_share`, the others alike."""
    *others, terminal = sorted(student_timesteps)
    if not others:
        return torch.full_like(draws, terminal, dtype=torch.long)
    place = (draws - terminal_share) / max(1 - terminal_share, 1e-9) * len(others)
    among = torch.tensor(others)[place.long().clamp(0, len(others) - 1)]
    return torch.where(draws < terminal_share, terminal, among)


@torch.no_grad()
def simulate(
    unet: nn.Module, schedule: Schedule, batch: Batch, s: Tensor, student_timesteps: Sequence[int], seed: int
) -> Tensor:
    """What the student has for x0 (B,C,h,w) when its own sampling from pure noise arrives at `s` (B,).

    The multi-step rule of `sample_student`, stopped for each image before its pass at s; at the first timestep nothing
    is there yet, and the real x0 is returned. Every image takes all passes, so that all ranks of a ZeRO-3 engine call
    the student equally often.
    """
    falling = sorted(student_timesteps, reverse=True)
    shape, positions, found = batch.latents.shape[1:], batch.positions, batch.latents
    x_t = rng.normal(shape, seed, "simulated-x_T", positions).to(found)
    for t, after in pairwise(falling):
        x0 = denoise(unet, schedule, x_t, batch.text, t)
        found = torch.where((s == after).to(x0.device).view(-1, 1, 1, 1), x0, found)
        eps = rng.normal(shape, seed, f"simulated-{after}", positions).to(x0)
        x_t = schedule.add_noise(x0, eps, torch.full((len(x0),), after))
    return found

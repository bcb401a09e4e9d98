"""Adversarial Diffusion Distillation (Sauer et al., arXiv 2311.17042, "ADD") into a compact student, and its latent
variant (arXiv 2403.12015, "LADD").

One step: the gradients of two turns, then both updates.
 1. The student's turn. It guesses x_hat from x_s (`Distillation.student_input`). Two judges see it: the heads, through
    the eyes of `eyes.py` (equation 2), and the teacher, which denoises a re-noised x_hat with guidance (equation 4).
    With a `PixelEye`, x_hat is decoded first and equation 4 is a distance between pixels; else all stays latent.
 2. The heads' turn: the hinge loss with R1 (equation 3) on real images and on the very images of the student's turn,
    detached. The student is not run again.
Only the student learns in 1 and only the heads in 2; teacher, autoencoder and feature network never do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean

import torch
from torch import Tensor, nn

from naruto_add import rng
from naruto_add.config import DistillConfig, OptimConfig
from naruto_add.data.batch import Batch
from naruto_add.diffusion import losses
from naruto_add.diffusion.guidance import predict
from naruto_add.distill.eyes import Captions, Eye, Picture, PixelEye, Shown, Sight
from naruto_add.distill.judges import Judges, opinion, trajectory_end
from naruto_add.distill.method import Distillation
from naruto_add.distill.setup import Setup
from naruto_add.models.discriminator import Panel
from naruto_add.models.load import decode
from naruto_add.training.method import mean_terms, numbers
from naruto_add.training.pace import learning_rate
from naruto_add.training.player import Player, frozen
from naruto_add.training.state import TrainState

CALM = 0.25
"""What each rollback after a collapse multiplies the heads' learning rate by."""


class Add(Distillation):
    """The method: two players, the student and the discriminator heads. See `build_distillation`."""

    def __init__(
        self,
        setup: Setup,
        judges: Judges,
        student: Player,
        heads: Player,
        eyes: Sequence[Eye],
        captions: Captions | None = None,
    ) -> None:
        super().__init__(setup, judges, student)
        self.heads = heads
        self.eyes = eyes
        self.captions = captions
        """Some of the training captions, from which mismatched pairs are drawn."""
        self.players["heads"] = heads
        self.in_pixels = any(isinstance(eye, PixelEye) for eye in eyes)
        self.needs_pixels = self.in_pixels and setup.config.real_images == "pixels"

    @property
    def parts(self) -> dict[str, nn.Module]:
        """See `Method.parts`."""
        return super().parts | {"heads": self.heads.module}

    def step(self, batch: Batch, state: TrainState) -> dict[str, float]:
        """One update of the student, then `heads_steps` of the heads; returns the mean terms of all micro-batches."""
        renew(self.heads, self.eyes, 1.0 if state.just_rolled_back else self.config.heads_renewal, state)
        turns = [self._student_turn(micro, state) for micro in self.micro_batches(batch)]
        shown = [left for left, _, _ in turns]
        log = mean_terms([terms for _, _, terms in turns])
        log |= mean_terms([self._judge(sights) for _, sights, _ in turns])
        for player in self.players.values():
            player.check()  # before either is updated
        lr = learning_rate(self.config.optim, state.images_after)
        log |= {"student_grad_norm": self.student.step(lr), "lr": lr, "heads_grad_norm": self._update_heads(state)}
        for turn in range(1, self.config.heads_steps):
            log |= mean_terms([self._judge(self._look_again(left, turn, state.seed)) for left in shown])
            log |= {"heads_grad_norm": self._update_heads(state)}
        return log

    def _student_turn(self, batch: Batch, state: TrainState) -> tuple[Shown, list[Sight], dict[str, float]]:
        """Equation 1 on one micro-batch: the gradients reach the student, and the student alone.

        Returns what the heads are shown in their turns, what they see of it in the first, and the terms.
        """
        config = self.config
        with self.autocast():
            shown = self._show(batch, state.seed)
            sights = [eye.look(shown, 0, state.seed) for eye in self.eyes]
            distillation = self._distillation(shown, state.seed)
        with frozen(self.heads):
            logits = self.heads.module([sight.fake for sight in sights], [sight.condition for sight in sights])
        weight = config.adversarial_weight * ramp(state.images_after, config.adversarial_warmup_images)
        adversarial = losses.hinge_g(logits)
        weighted = {
            "adversarial_weighted": weight * adversarial,
            "distillation_weighted": config.distill_weight * distillation,
        }
        loss = torch.stack(list(weighted.values())).sum()
        self.student.backward(loss)
        terms = {"adversarial": adversarial, "distillation": distillation, "student_loss": loss, **weighted}
        return shown.detached(), [sight.detached() for sight in sights], numbers(terms)

    def _show(self, batch: Batch, seed: int) -> Shown:
        """The student's guess beside the real images."""
        x_s, s, knows_x0 = self.student_input(batch, seed)
        x_hat = self.judges.schedule.to_x0(predict(self.student.module, x_s, s, batch.text), x_s, s).float()
        fake = Picture(x_hat, self._pixels(x_hat) if self.in_pixels else None)
        captions = Captions(batch.text, batch.pooled)
        return Shown(batch.positions, x_s, s, self._real(batch), fake, captions, self._wrong(batch, seed), knows_x0)

    @torch.no_grad()
    def _real(self, batch: Batch) -> Picture:
        """The real images: their own pixels, or what the autoencoder makes of their latents."""
        assert not self.needs_pixels or batch.pixels is not None, "this method needs batches with pixels"
        if not self.in_pixels or self.needs_pixels:
            return Picture(batch.latents, batch.pixels)
        return Picture(batch.latents, self._pixels(batch.latents))

    def _pixels(self, latents: Tensor) -> Tensor:
        """Pixels (B,3,H,W), float32."""
        return decode(self.judges.vae, latents).float()

    def _wrong(self, batch: Batch, seed: int) -> Captions | None:
        """A caption of some other image for each; one in len(captions) is the right one by chance."""
        if self.captions is None:
            return None
        rows = rng.integers(len(self.captions.pooled), seed, "wrong-caption", batch.positions).to(batch.text.device)
        return Captions(self.captions.text[rows], self.captions.pooled[rows])

    def _distillation(self, shown: Shown, seed: int) -> Tensor:
        """Equation 4: the squared distance to the teacher's target, and a perceptual one if asked."""
        config, judges, x_hat = self.config, self.judges, shown.fake
        if not config.distill_weight:
            return torch.zeros((), device=judges.device)
        target, c = self._target(shown, seed)
        self.student.watch(target)  # an autoencoder may clamp what is infinite
        if x_hat.pixels is None:
            return losses.distillation(x_hat.latents, target, c)
        with torch.no_grad():
            target = self._pixels(target)
        distance = losses.distillation(x_hat.pixels, target, c)
        if config.perceptual_weight:
            distance = distance + config.perceptual_weight * losses.weighted(self._unlike(x_hat.pixels, target), c)
        return distance

    def _target(self, shown: Shown, seed: int) -> tuple[Tensor, Tensor]:
        """What the teacher would have the student's guess be, latents (B,C,h,w), and its weight (B,)."""
        config, judges, text = self.config, self.judges, shown.captions.text
        if config.target == "trajectory":
            return trajectory_end(config, judges, text, shown.x_s, shown.s), torch.ones(len(shown.s))
        return opinion(config, judges, text, shown.fake.latents.detach(), shown.positions, seed)

    def _unlike(self, pixels: Tensor, target: Tensor) -> Tensor:
        """The perceptual distance (B,) of pixels to the target's, seen by the heads' feature network."""
        features = self.judges.features
        assert features is not None, "pixels come with a feature network"
        with torch.no_grad():
            wanted = [level.float() for level in features(target)]
        return losses.perceptual([level.float() for level in features(pixels)], wanted)

    @torch.no_grad()
    def _look_again(self, shown: Shown, turn: int, seed: int) -> list[Sight]:
        """What the heads see in a later turn: the same images, newly augmented or noised."""
        with self.autocast():
            return [eye.look(shown, turn, seed) for eye in self.eyes]

    def _judge(self, sights: Sequence[Sight]) -> dict[str, float]:
        """Equation 3 on one micro-batch: gradients for the heads."""
        heads, conditions = self.heads.module, [sight.condition for sight in sights]
        inputs = [[level.detach().requires_grad_() for level in sight.real] for sight in sights]
        real, fake = heads(inputs, conditions), heads([sight.fake for sight in sights], conditions)
        hinge, gamma = losses.hinge_d(real, fake), self.config.r1_gamma
        r1 = losses.r1_penalty(real, [*chain.from_iterable(inputs)]) if gamma else torch.zeros_like(hinge)
        terms = {"hinge": hinge, "r1": r1, "r1_weighted": gamma * r1, **self._mismatch(sights)}
        terms["heads_loss"] = hinge + gamma * r1 + terms.get("mismatch_weighted", 0.0)
        self.heads.backward(terms["heads_loss"])
        return numbers(terms) | verdicts(real, fake)

    def _mismatch(self, sights: Sequence[Sight]) -> dict[str, Tensor]:
        """The hinge on real images under other captions; nothing if it is not asked for."""
        wrong = [sight.wrong for sight in sights if sight.wrong is not None]
        if not wrong:
            return {}
        mismatch = losses.hinge_wrong(self.heads.module(wrong, [sight.wrong_condition for sight in sights]))
        return {"mismatch": mismatch, "mismatch_weighted": self.config.mismatch_weight * mismatch}

    def _update_heads(self, state: TrainState) -> float:
        """One update of the heads; returns the norm of their gradient."""
        lr = learning_rate(heads_optim(self.config), state.images_after)
        return self.heads.step(lr * CALM**state.rollbacks)


def build_panel(eyes: Sequence[Eye], seed: int, *when: int) -> Panel:
    """Heads that have learnt nothing yet: a function of the seed, and of when they are drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.address(seed, "heads", *when))
        return Panel([(eye.channels, eye.condition_size) for eye in eyes])


def renew(heads: Player, eyes: Sequence[Eye], share: float, state: TrainState) -> None:
    """Draw each head anew with probability `share`: all after a collapse, or a few now and then, so that none overfits.

    The latter is NitroFusion's (arXiv 2412.02030).
    """
    if not share:
        return
    fresh = build_panel(eyes, state.seed, state.global_step, state.rollbacks)
    names = fresh.names()
    draws = rng.uniform(state.seed, "renew-heads", [state.global_step * len(names) + k for k in range(len(names))])
    chosen = tuple(f"{name}." for name, draw in zip(names, draws.tolist(), strict=True) if draw < share)
    heads.renew({name: tensor for name, tensor in fresh.state_dict().items() if name.startswith(chosen)})


def heads_optim(config: DistillConfig) -> OptimConfig:
    """The heads' optimizer: the student's pace and batches, their own learning rate, no moving average."""
    return replace(config.optim, learning_rate=config.heads_learning_rate, ema_images=0)


def ramp(images: int, warmup_images: int) -> float:
    """Rises linearly from 0 to 1 over `warmup_images`; 1 without any."""
    return min(1.0, images / warmup_images) if warmup_images else 1.0


def verdicts(real: Sequence[Tensor], fake: Sequence[Tensor]) -> dict[str, float]:
    """Mean logits of real and generated images, their gap, and the gap at each feature level."""
    means = numbers({str(k): logits.mean() for k, logits in enumerate((*real, *fake))})
    on_real, on_fake = list(means.values())[: len(real)], list(means.values())[len(real) :]
    gaps = {f"logit_gap_{k}": r - f for k, (r, f) in enumerate(zip(on_real, on_fake, strict=True))}
    return {"d_real": fmean(on_real), "d_fake": fmean(on_fake), "logit_gap": fmean(gaps.values())} | gaps

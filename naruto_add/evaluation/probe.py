"""How far a student that is still learning is from the held-out images: few pictures, often, into its metrics.

The pictures are those of the first held-out captions, always from the same noise, so that one student's measurements
can be compared with each other and with another's. They are few, so the distances are far above those of a report and
mean something beside each other alone. At the end other captions and noises are drawn, in all of the report's steps:
who has been chosen by the first pictures is judged by these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from naruto_add.config import EvaluateConfig, Recipe
from naruto_add.data.latents import chunks
from naruto_add.data.latents import write as write_tensors
from naruto_add.data.shards import Shards
from naruto_add.evaluation import floors
from naruto_add.evaluation.eyes import Eyes, open_eyes
from naruto_add.evaluation.frechet import frechet_distance
from naruto_add.evaluation.kid import kernel_distance
from naruto_add.evaluation.observe import Observer
from naruto_add.evaluation.painters import to_uint8

Draw = Callable[[Sequence[str], Sequence[int], int], Tensor]
"""Captions, the places that address their noises, and a number of steps -> pixels (B, 3, H, W) in [-1, 1]."""

UNSEEN = "unseen.safetensors"
"""In the work folder, after the last step: features (N, F) of the second set of pictures, by number of steps."""


@dataclass(frozen=True)
class DistanceProbe:
    """A `training.method.Probe`; see `open_probe`."""

    draw: Draw
    captions: Sequence[str]
    """The held-out ones; picture n shows number n modulo their number, from noise n."""
    eyes: Eyes
    real: Tensor
    """Features (M, F) of the held-out images."""
    pictures: int
    others: int
    """Pictures that are drawn at the end."""
    steps: int
    """Steps of the distance that is measured on the way."""
    all_steps: tuple[int, ...]
    batch_size: int
    every: int
    folder: Path

    def measure(self, finished: bool) -> dict[str, float]:
        """`fd_real` and `kid_real` over `scored` pictures; at the end also `fd_real_at_S` and `seconds_at_S`.

        The latter are over `surveyed` other pictures in S steps, and seconds a picture, drawn by the batch.
        """
        features, _ = self._look(range(self.pictures), self.steps)
        found = {
            "fd_real": frechet_distance(features, self.real),
            "kid_real": kernel_distance(features, self.real),
            "scored": float(self.pictures),
        }
        return found | (self._survey() if finished else {})

    def _survey(self) -> dict[str, float]:
        """Pictures that no decision has been made from, in all numbers of steps."""
        numbers = range(self.pictures, self.pictures + self.others)
        seen = {steps: self._look(numbers, steps) for steps in self.all_steps}
        write_tensors(self.folder / UNSEEN, {str(steps): features for steps, (features, _) in seen.items()})
        found = {"surveyed": float(self.others)}
        for steps, (features, seconds) in seen.items():
            found |= {f"fd_real_at_{steps}": frechet_distance(features, self.real), f"seconds_at_{steps}": seconds}
        return found

    def _look(self, numbers: range, steps: int) -> tuple[Tensor, float]:
        """Features (N, F) of the pictures with these numbers, and the seconds that drawing one took."""
        features, seconds = [], 0.0
        for places in chunks(numbers, self.batch_size):
            start = time.perf_counter()
            pixels = self.draw([self.captions[place % len(self.captions)] for place in places], places, steps)
            images = to_uint8(pixels)  # waits for the device
            seconds += time.perf_counter() - start
            features.append(self.eyes.features(images))
        return torch.cat(features), seconds / len(numbers)


def open_probe(
    recipe: Recipe, shards: Shards, draw: Draw, device: torch.device, folder: Path, kept: Path
) -> DistanceProbe:
    """The probe that a recipe asks for; features of the held-out images are kept in the folder `kept`."""
    distill, scored = recipe.distill, recipe.evaluate
    eyes, real = held_out(scored, shards, device, kept)
    return DistanceProbe(
        draw=draw,
        captions=shards.captions("heldout"),
        eyes=eyes,
        real=real,
        pictures=distill.measure_pictures,
        others=distill.survey_pictures,
        steps=recipe.export.steps,
        all_steps=scored.student_steps,
        batch_size=scored.batch_size,
        every=distill.measure_images,
        folder=folder,
    )


def held_out(scored: EvaluateConfig, shards: Shards, device: torch.device, kept: Path) -> tuple[Eyes, Tensor]:
    """A recipe's eyes, and what they see of the held-out images: features (M, F), kept in the folder `kept`."""
    eyes = open_eyes(scored, device)
    observer = Observer(eyes, None, scored.batch_size)
    return eyes, floors.real_features(shards, "heldout", shards.count("heldout"), observer, kept)


def unseen(folder: Path, steps: int) -> Tensor:
    """Features (N, F) of the second set of pictures, from the work folder of a student that has finished."""
    return load_file(folder / UNSEEN)[str(steps)]

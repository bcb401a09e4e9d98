"""Generated pictures on disk, so that a killed evaluation goes on where it was and no picture is drawn twice.

A picture has a number: number n shows caption n modulo the number of captions, and starts from noise number n, the same
for every model and step count. A gallery is a folder of batches that appear whole, named by all that decides them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from naruto_add.artifact import canonical, sha256_text
from naruto_add.data.latents import write as write_tensors
from naruto_add.evaluation.painters import Painter
from naruto_add.evaluation.progress import Meter
from naruto_add.training.world import ALONE, World


@dataclass(frozen=True)
class Prompts:
    """Captions to draw, over and over if there are more pictures than captions."""

    name: str
    captions: tuple[str, ...]

    def of(self, numbers: Iterable[int]) -> list[str]:
        """The captions of the pictures with these numbers."""
        return [self.captions[number % len(self.captions)] for number in numbers]


class Gallery:
    """The pictures of one model at one step count, by number; read from disk when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._places: dict[int, tuple[Path, int]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                self._note(path, file.get_tensor("numbers").tolist())

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Which of these numbers have not been drawn."""
        return [number for number in numbers if number not in self._places]

    def add(self, numbers: Sequence[int], images: Tensor) -> None:
        """Store a batch (B, 3, H, W) uint8; it is there whole or not at all."""
        path = self.folder / f"{numbers[0]:08d}-{len(numbers)}.safetensors"
        write_tensors(path, {"numbers": torch.tensor(numbers), "images": images.contiguous()})
        self._note(path, numbers)

    def images(self, numbers: Iterable[int]) -> Tensor:
        """Pictures (N, 3, H, W), uint8, in this order."""
        return torch.stack([self._read(*self._places[number]) for number in numbers])

    def _note(self, path: Path, numbers: Sequence[int]) -> None:
        self._places.update({number: (path, row) for row, number in enumerate(numbers)})

    @staticmethod
    def _read(path: Path, row: int) -> Tensor:
        with safe_open(path, framework="pt") as file:
            return file.get_slice("images")[row]


def label(painter: Painter, steps: int) -> str:
    """The name of a model at a step count, such as "teacher@50"."""
    return f"{painter.name}@{steps}"


@dataclass(frozen=True)
class Order:
    """Pictures to draw: which model, in how many steps, from which captions, which numbers."""

    painter: Painter
    steps: int
    prompts: Prompts
    numbers: tuple[int, ...]

    @property
    def label(self) -> str:
        """Such as "teacher@50"."""
        return label(self.painter, self.steps)

    def folder(self, seed: int) -> str:
        """A folder name for all that decides a gallery's pictures."""
        made_of = {
            "weights": self.painter.digest,
            "settings": dict(self.painter.settings),
            "latent_shape": list(self.painter.latent_shape),
            "steps": self.steps,
            "seed": seed,
            "captions": list(self.prompts.captions),
        }
        return f"{self.prompts.name}-{self.painter.name}-{self.steps}-{sha256_text(canonical(made_of))[:16]}"


@dataclass(frozen=True)
class Job:
    """One batch to draw."""

    order: Order
    gallery: Gallery
    numbers: list[int]

    @property
    def passes(self) -> int:
        """What it costs, in UNet passes for one picture."""
        return self.order.painter.passes(self.order.steps) * len(self.numbers)

    def run(self, seed: int) -> None:
        """Draw it and put it in its gallery."""
        order = self.order
        self.gallery.add(
            self.numbers, order.painter.draw(order.prompts.of(self.numbers), self.numbers, order.steps, seed)
        )


@dataclass(frozen=True)
class Studio:
    """Where and how galleries are made."""

    folder: Path
    seed: int
    batch_size: int

    def fill(self, orders: Sequence[Order], meter: Meter, world: World = ALONE) -> list[Gallery]:
        """The gallery of each order, after drawing what it lacks; the meter counts UNet passes.

        Called by all ranks of a `world`, who see the same folder: each draws its share of the batches.
        """
        jobs = self._jobs(orders, self._galleries(orders))
        world.barrier()  # nobody draws before all know what is missing
        mine = jobs[world.rank :: world.size]
        done, total = 0, sum(job.passes for job in mine)
        with meter:
            for job in mine:
                meter.update(f"{job.order.label}, {job.order.prompts.name}", done, total)
                job.run(self.seed)
                done += job.passes
            world.barrier()
            meter.update("scores", done, total)
        galleries = self._galleries(orders)
        return [galleries[order.folder(self.seed)] for order in orders]

    def _galleries(self, orders: Sequence[Order]) -> dict[str, Gallery]:
        """What is there, by the name of its folder."""
        return {place: Gallery(self.folder / place) for place in dict.fromkeys(o.folder(self.seed) for o in orders)}

    def _jobs(self, orders: Sequence[Order], galleries: Mapping[str, Gallery]) -> list[Job]:
        """What is missing, in batches; two orders of the same pictures are drawn once."""
        wanted: dict[str, tuple[Order, set[int]]] = {}
        for order in orders:
            wanted.setdefault(order.folder(self.seed), (order, set()))[1].update(order.numbers)
        missing = {place: galleries[place].missing(sorted(numbers)) for place, (_, numbers) in wanted.items()}
        return [
            Job(wanted[place][0], galleries[place], numbers[start : start + self.batch_size])
            for place, numbers in missing.items()
            for start in range(0, len(numbers), self.batch_size)
        ]

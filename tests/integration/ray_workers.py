"""What the Ray tests have their workers do; importable by path, as `on_ray.train.run` asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from naruto_add.artifact import write_json
from naruto_add.data.batch import Batch
from naruto_add.training.engine import choose_engine
from naruto_add.training.loop import train
from naruto_add.training.telemetry import Reporter
from naruto_add.training.world import World
from tests.unit.training.toys import Copycat, ToyFeed, everything, optim_of

KILLED_BEFORE = 12
"""Rank 1 dies before it gives the batch at this image, once; the last checkpoint is of image 8."""


class DeadlyFeed(ToyFeed):
    """A feed that takes its whole process with it, once."""

    def __init__(self, world: World, marker: Path) -> None:
        super().__init__(4, world.rank, world.size)
        self.marker = marker

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        for batch in super().batches(start, stop):
            if self.rank == 1 and batch.positions[0] >= KILLED_BEFORE and not self.marker.exists():
                self.marker.touch()
                os._exit(1)
            yield batch


def learn_twice_and_meet_bad_numbers(config: dict[str, Any]) -> None:
    """Both, one after the other."""
    learn_twice(config)
    meet_bad_numbers(config)


def learn_twice(config: dict[str, Any]) -> None:
    """Train undisturbed, then again with a death on the way; rank 0 tells whether both ended with the same bits."""
    world, folder = World.current(), Path(config["folder"])
    ends = []
    for name, feed in (
        ("undisturbed", ToyFeed(4, world.rank, world.size)),
        ("killed", DeadlyFeed(world, folder / "died")),
    ):
        method = Copycat(optim_of(), choose_engine(2))
        state = train(method, feed, method.optim, folder / name, Reporter(), 0, world)
        ends.append(everything(method))
    same = all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    if world.leads:
        write_json(folder / "verdict.json", {"same": same, "images": state.images, "workers": world.size})


def meet_bad_numbers(config: dict[str, Any]) -> None:
    """Train on a batch that rank 1 alone finds to be bad."""
    world = World.current()

    class Poisoned(ToyFeed):
        def batches(self, start: int, stop: int) -> Iterator[Batch]:
            for batch in super().batches(start, stop):
                if self.rank == 1:
                    batch.pooled[:] = float("inf")
                yield batch

    method, folder = Copycat(optim_of()), Path(config["folder"]) / "bad"
    train(method, Poisoned(4, world.rank, world.size), method.optim, folder, Reporter(), 0, world)

"""A real, tiny method and feed for the tests of the training core: a small network that learns to copy its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from naruto_add import rng
from naruto_add.config import OptimConfig
from naruto_add.data.batch import Batch
from naruto_add.training.engine import EngineFactory, TorchEngine
from naruto_add.training.pace import learning_rate
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState


def optim_of(**changes: object) -> OptimConfig:
    settings = {
        "images": 24, "batch_size": 4, "learning_rate": 1e-2, "warmup_images": 8, "ema_images": 8,
        "checkpoint_images": 8, "preview_images": 8, "max_grad_norm": 0.5,
    }  # fmt: skip
    return OptimConfig(**(settings | changes))


def network(seed: int = 0) -> nn.Sequential:
    """A network with odd sizes (they do not divide by two workers) and buffers that training changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 7, bias=False), nn.BatchNorm1d(7, momentum=0.5), nn.GELU(), nn.Linear(7, 3))


class Copycat:
    """A `Method`: learns x -> x with noise addressed by position."""

    needs_pixels = False

    def __init__(
        self, optim: OptimConfig, engine: EngineFactory = TorchEngine, module: nn.Module | None = None
    ) -> None:
        self.optim = optim
        self.player = Player("copycat", network() if module is None else module, optim, engine)
        self.players = {"copycat": self.player}
        self.previews: list[int] = []
        self.gap = 0.0
        self.cured_by = 99
        """So many rollbacks make the gap small."""

    def step(self, batch: Batch, state: TrainState) -> dict[str, float]:
        for micro in batch.split(self.optim.accumulation):
            noise = rng.normal((3,), state.seed, "noise", micro.positions)
            loss = (self.player.module(micro.pooled + 0.1 * noise) - micro.pooled).square().mean() * 10
            self.player.backward(loss)
        norm = self.player.step(learning_rate(self.optim, state.images_after))
        return {
            "loss": float(loss.detach()),
            "grad_norm": norm,
            "logit_gap": self.gap if state.rollbacks < self.cured_by else 0.0,
        }

    def preview(self, prompts: Sequence[str]) -> Tensor:
        self.previews.append(len(prompts))
        return torch.zeros(2 * len(prompts), 3, 4, 4)


@dataclass
class ToyFeed:
    """A `Feed` of rows that are a function of their position."""

    batch_size: int = 4
    rank: int = 0
    world: int = 1

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        share = self.batch_size // self.world
        for first in range(start, stop, self.batch_size):
            positions = [first + self.rank * share + i for i in range(share)]
            yield batch_at(positions)


def batch_at(positions: list[int]) -> Batch:
    x = rng.normal((3,), 7, "data", positions)
    return Batch(positions, [p % 10 for p in positions], torch.zeros(len(x), 4, 2, 2), torch.zeros(len(x), 2, 5), x)


def everything(method: Copycat) -> dict[str, Tensor]:
    """All weights, averages and optimizer states."""
    return {name: tensor.clone() for name, tensor in method.player.tensors()}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    differing = [name for name in wanted if not torch.equal(found[name], wanted[name])]
    assert not differing

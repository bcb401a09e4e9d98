"""What the loop needs of a training method: its players, one step, and a picture of where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Protocol

import torch
from torch import Tensor, nn

from naruto_add.data.batch import Batch
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState


class Probe(Protocol):
    """Scores what is being trained, now and then, on rank 0 alone; so it must not talk to other ranks."""

    @property
    def every(self) -> int:
        """Images between two measurements; there is one at the end too."""
        ...

    def measure(self, finished: bool) -> dict[str, float]:
        """Named numbers for the log; `finished`: no step will follow."""
        ...


class Method(Protocol):
    """Fine-tuning has one player, adversarial distillation two."""

    players: dict[str, Player]
    """Everything that learns, by name; also what a checkpoint holds."""
    needs_pixels: bool
    """Whether batches must carry pixels."""

    def step(self, batch: Batch, state: TrainState) -> dict[str, float]:
        """One whole step of every player on this rank's share of the global batch.

        `state` is the state before the step: noise is addressed by `batch.positions`, the learning rate is that of
        `state.images_after`. Returns named numbers for the log, the same names on all ranks and at every step;
        `logit_gap` among them feeds the collapse gate. Raises NonFinite on all ranks before any update with bad
        numbers.
        """
        ...

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks whose time a profile tells apart, by name."""
        ...

    def preview(self, prompts: Sequence[str]) -> Tensor:
        """Pictures of the averaged weights, (N, 3, H, W) in [-1, 1], N a multiple of len(prompts), row by row.

        Called on rank 0 alone, so it must not talk to other ranks; fixed noise, so that pictures can be compared.
        """
        ...


def mean_terms(terms: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each named number over the micro-batches."""
    return {name: fmean(term[name] for term in terms) for name in terms[0]}


def numbers(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """The terms (scalars on one device) as plain numbers, which a GPU is waited for once."""
    return dict(zip(terms, torch.stack([value.detach().double() for value in terms.values()]).tolist(), strict=True))

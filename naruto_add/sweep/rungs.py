"""Who goes on: asynchronous successive halving (ASHA; Li et al. 2020, arXiv 1810.05934), as two pure functions.

Trials are measured when they have seen so many images: at the rungs. At each but the last, one trial in `reduction`
goes on. Nobody waits for the others: a trial is held against those that have been there before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from naruto_add.config import OptimConfig
from naruto_add.training.pace import total_images

DEFAULT_RUNGS = 3


@dataclass(frozen=True)
class Halving:
    """How hard ASHA chooses."""

    reduction: int = 2
    """One trial in so many goes on from a rung."""


def rung_images(optim: OptimConfig, first: int | None, reduction: int) -> tuple[int, ...]:
    """The rungs in images seen, each `reduction` times the one before, in whole steps; the last one is the end.

    `first` None: such that there are three.
    """
    total = total_images(optim)
    at = first or total / reduction ** (DEFAULT_RUNGS - 1)
    rungs = set()
    while at < total:
        rungs.add(whole_steps(at, optim))
        at *= reduction
    return (*sorted(rungs - {total}), total)


def whole_steps(images: float, optim: OptimConfig) -> int:
    """So many images, rounded up to whole steps."""
    return math.ceil(images / optim.batch_size) * optim.batch_size


def goes_on(distance: float, before: Sequence[float], reduction: int) -> bool:
    """Whether a trial at this distance goes on, after those that were at its rung before it."""
    places = math.ceil((len(before) + 1) / reduction)
    return sum(other < distance for other in before) < places

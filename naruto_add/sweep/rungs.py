"""Who goes on: asynchronous successive halving (ASHA; Li et al. 2020, arXiv 1810.05934), as two pure functions.

Trials are measured when they have seen so many images: at the rungs. At each but the last, one trial in `reduction`
goes on. Nobody waits for the others: a trial is held against those that have been there before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from naruto_add.config import OptimConfig
from naruto_add.training.pace import total_images

DEFAULT_RUNGS = 3


def rung_images(optim: OptimConfig, first: int | None, reduction: int) -> tuple[int, ...]:
    """The rungs in images seen, each `reduction` times the one before, in whole steps; the last one is the end.

    `first` None: such that there are three.
    """
    total = total_images(optim)
    at = first or total / reduction ** (DEFAULT_RUNGS - 1)
    rungs = set()
    while at < total:
        rungs.add(math.ceil(at / optim.batch_size) * optim.batch_size)
        at *= reduction
    return (*sorted(rungs - {total}), total)


def goes_on(distance: float, before: Sequence[float], reduction: int) -> bool:
    """Whether a trial at this distance goes on, after those that were at its rung before it."""
    places = math.ceil((len(before) + 1) / reduction)
    return sum(other < distance for other in before) < places

"""A network for any number of rows, made of networks for fixed numbers of rows that agree with it bit for bit.

A processor takes less time for eight rows at once than for one eight times, but a kernel for another shape may sum in
another order, and then a picture would depend on its company. So a network for more rows is used only where each of its
rows has the bits that the network for one row gives it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

LOOKS, TIMES = 2, 3
"""How often bits are compared, and how often a network is timed."""

log = logging.getLogger("naruto_add.serve.rows")  # `serve.logs` writes its lines


class Network(Protocol):
    """An output (B,...) of inputs (B,...), for one B."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Compute."""


class Draw(Protocol):
    """Inputs to try a network with."""

    def __call__(self, rows: int) -> Sequence[Tensor]:
        """Random ones (rows,...), others at every call."""


class Rows:
    """The networks by their numbers of rows; a batch is cut into pieces such that it takes the least time."""

    def __init__(self, single: Network) -> None:
        self._networks: dict[int, Network] = {1: single}
        self._seconds: dict[int, float] = {1: 1.0}

    @property
    def sizes(self) -> list[int]:
        """The numbers of rows for which there is a network."""
        return sorted(self._networks)

    def offer(self, rows: int, network: Network, draw: Draw) -> bool:
        """Use this network for so many rows too, if its bits are those of the one for one row; returns whether."""
        single = self._networks[1]
        if not all(alike(network, single, draw(rows)) for _ in range(LOOKS)):
            log.warning("a pass of %d rows at once rounds otherwise than one of a single row: not used", rows)
            return False
        self._networks[rows] = network
        self._seconds[rows] = least_s(network, draw(rows))
        self._seconds[1] = least_s(single, draw(1))
        return True

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The output (B,...) of inputs (B,...), for any B."""
        outputs, first = [], 0
        for size in cuts(len(inputs[0]), self._seconds):
            piece = [each[first : first + size] for each in inputs]
            outputs.append(self._networks[size](*filled(piece, size))[: len(piece[0])])
            first += size
        return torch.cat(outputs)


def alike(network: Network, single: Network, inputs: Sequence[Tensor]) -> bool:
    """Whether every row of these inputs (B,...) has the same bits in the network for B rows as in that for one.

    On generic data a look or two is enough, and holds for all other data: in which order a compiled network sums is
    fixed by its shapes when its kernels are chosen, whatever it sums. Where two orders differ, many sums of random
    numbers differ in their last bit, each output is made of thousands of them, and thousands of outputs are compared:
    that all would agree by chance does not happen. Each row of the batch is another, so every position is looked at.
    """
    together = network(*inputs)
    rows = zip(*(each.split(1) for each in inputs), strict=True)
    return all(torch.equal(mine, single(*row)[0]) for mine, row in zip(together, rows, strict=True))


def least_s(network: Network, inputs: Sequence[Tensor]) -> float:
    """The least seconds of some calls: other programs make them longer, nothing shorter."""
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        network(*inputs)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def cuts(rows: int, seconds: Mapping[int, float]) -> list[int]:
    """The sizes of the pieces that take so many rows in least time, largest first; of the last one a part may be idle.

    `seconds` are those of a pass by its size, which must have a size of 1.
    """
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for count in range(1, rows + 1):
        ways = [(best[max(0, count - size)], size, cost) for size, cost in seconds.items()]
        best.append(min((before[0] + cost, [*before[1], size]) for before, size, cost in ways))
    return sorted(best[rows][1], reverse=True)


def filled(piece: Sequence[Tensor], size: int) -> list[Tensor]:
    """Tensors (b,...) with their last row repeated up to `size` rows."""
    places = torch.arange(size).clamp(max=len(piece[0]) - 1)
    return [each if len(each) == size else each[places] for each in piece]

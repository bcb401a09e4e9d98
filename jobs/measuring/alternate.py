"""Measuring ours and its peer in turns (A B A B ...), so that what disturbs the machine disturbs both, and judging it.

Before every round one fixed matrix product is timed. A quiet machine does it in the same time again and again; where
these times spread too far, or where other programs kept the cores busy before the run began, nothing is concluded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median, quantiles
from typing import Literal

import torch

from jobs.measuring.rows import Row

Verdict = Literal["passed", "missed", "noisy", "for information"]

NOISE_LIMIT = 0.15
"""Of the calibration's interquartile range, over its median."""
LOAD_LIMIT = 0.5
"""Of the load average before the run, a core: a steady neighbour slows everything alike and leaves no spread."""
CALIBRATION_SIZE = 512
CALIBRATION_PRODUCTS = 8


@dataclass(frozen=True)
class Curve:
    """Seconds or MB against a size: every measurement of each size, and the names of both axes."""

    x: str
    y: str
    points: dict[float, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """Ours and its peer: each call is one measurement, in the row's unit."""

    ours: Callable[[], float]
    peer: Callable[[], float] | None = None
    warm: bool = True
    """Call each once before, unmeasured."""
    parts: Callable[[], dict[str, float]] | None = None
    """What ours is made of, in the row's unit, once all is measured."""
    curve: Curve | None = None
    """What ours grows with, filled while it is measured."""
    close: Callable[[], None] = lambda: None
    """Ends what was started for it."""


@dataclass(frozen=True)
class Result:
    """A row measured. `value` and `peer` are medians, `spread` and `peer_spread` median absolute deviations."""

    name: str
    title: str
    unit: str
    value: float
    spread: float
    peer_title: str | None
    peer: float | None
    peer_spread: float | None
    ratio: float | None
    """The median over the rounds of how many times better ours was."""
    ratio_quartiles: tuple[float, float] | None
    limit: float | None
    bar: str | None
    passed: bool | None
    verdict: Verdict
    samples: list[float]
    peer_samples: list[float]
    noise: float | None = None
    """Of the calibration while it was measured."""
    parts: dict[str, float] | None = None
    curve: Curve | None = None


@dataclass
class Calibration:
    """Seconds of the fixed product, through the whole run, and the load average a core before it."""

    load: float
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._matrix = torch.rand(CALIBRATION_SIZE, CALIBRATION_SIZE)
        self.take()
        self.seconds.clear()  # the first one starts the threads

    def take(self) -> None:
        """Time the product once more."""
        began = time.perf_counter()
        for _ in range(CALIBRATION_PRODUCTS):
            torch.mm(self._matrix, self._matrix)
        self.seconds.append(time.perf_counter() - began)

    def noise(self, start: int = 0) -> float:
        """The interquartile range of the times from number `start` on over their median; 0: perfectly quiet."""
        low, high = quartiles(self.seconds[start:])
        return (high - low) / median(self.seconds[start:])

    def is_noisy(self, start: int = 0) -> bool:
        """Whether nothing can be concluded from what was measured since."""
        return self.load > LOAD_LIMIT or self.noise(start) > NOISE_LIMIT


def measure(row: Row, pair: Pair, repeats: int, calibration: Calibration) -> Result:
    """`repeats` rounds of ours, then its peer; what the pair started is ended whatever happens."""
    try:
        return rounds(row, pair, repeats, calibration)
    finally:
        pair.close()


def rounds(row: Row, pair: Pair, repeats: int, calibration: Calibration) -> Result:
    """See `measure`."""
    assert (pair.peer is None) == (row.peer is None), f"{row.name}: the table and its function disagree on a peer"
    sides = [side for side in (pair.ours, pair.peer) if side is not None]
    if pair.warm:
        for side in sides:
            side()
    before = len(calibration.seconds)
    samples: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        calibration.take()
        for found, side in zip(samples, sides, strict=True):
            found.append(side())
    calibration.take()
    result = judged(row, samples[0], samples[1] if pair.peer else [], calibration.is_noisy(before))
    parts = pair.parts() if pair.parts else None
    return replace(result, noise=calibration.noise(before), parts=parts, curve=pair.curve)


def judged(row: Row, ours: list[float], peers: list[float], noisy: bool) -> Result:
    """What the measurements say; `peers` is empty or as long as `ours`."""
    ratios = [row.ratio(mine, theirs) for mine, theirs in zip(ours, peers, strict=True)] if peers else []
    value, ratio = median(ours), median(ratios) if ratios else None
    verdict = verdict_of(row, value, ratio, noisy)
    return Result(
        name=row.name, title=row.title, unit=row.unit, value=value, spread=deviation(ours),
        peer_title=row.peer, peer=median(peers) if peers else None, peer_spread=deviation(peers) if peers else None,
        ratio=ratio, ratio_quartiles=quartiles(ratios) if ratios else None, limit=row.limit, bar=row.bar,
        passed={"passed": True, "missed": False}.get(verdict), verdict=verdict,
        samples=ours, peer_samples=peers,
    )  # fmt: skip


def verdict_of(row: Row, value: float, ratio: float | None, noisy: bool) -> Verdict:
    """Noise first: on a noisy machine neither a pass nor a miss means anything."""
    if noisy:
        return "noisy"
    if row.limit is None:
        return "for information"
    return "passed" if row.clears(value, ratio) else "missed"


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third; of a single value both are that."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def deviation(values: Sequence[float]) -> float:
    """The median absolute deviation from the median."""
    middle = median(values)
    return median(abs(value - middle) for value in values)

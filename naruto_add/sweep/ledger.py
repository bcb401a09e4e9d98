"""The sweep's memory: a line of JSON for every measurement, with what was decided from it.

It is written by the driver alone, at once, and no line of it is ever changed, so that a sweep whose driver was killed
goes on with the same decisions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from naruto_add.artifact import flush
from naruto_add.sweep.rungs import goes_on

CONTINUES, STOPPED, FINISHED, FAILED = "continues", "stopped", "finished", "failed"
KEEPER = 0
"""The trial of the recipe's own settings: never stopped, for all others are compared with it."""


@dataclass(frozen=True)
class Entry:
    """A trial at a rung."""

    trial: int
    images: int
    distance: float | None
    """None: the trial failed on the way there."""
    verdict: str
    seconds: float
    """Of training, so far."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """All that was measured."""
    reason: str | None = None
    """Why it failed."""

    @property
    def found(self) -> str:
        """The distance, or the reason, for a line."""
        return f"FD {self.distance:,.1f}" if self.distance is not None else str(self.reason)


class Ledger:
    """All measurements of a sweep, in the order in which they came."""

    def __init__(self, path: Path, rungs: tuple[int, ...], reduction: int | None) -> None:
        """`reduction` None: nobody is stopped before the end."""
        self.path = path
        self.rungs = rungs
        self.reduction = reduction
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.entries = [Entry(**json.loads(line)) for line in lines]

    def judge(
        self, trial: int, images: int, numbers: Mapping[str, float], seconds: float, reason: str | None = None
    ) -> tuple[Entry, bool]:
        """Decide, write down and return; the second is False for what was written down before."""
        known = self.at(trial, images)
        if known is not None:
            return known, False
        distance = None if reason is not None else numbers["fd_real"]
        entry = Entry(trial, images, distance, self._verdict(trial, images, distance), seconds, dict(numbers), reason)
        self._add(entry)
        return entry, True

    def at(self, trial: int, images: int) -> Entry | None:
        """What is written down of a trial at a rung."""
        return next((entry for entry in self.entries if (entry.trial, entry.images) == (trial, images)), None)

    def distance(self, trial: int, images: int) -> float | None:
        """What is written down at a rung; None where the trial failed on the way there."""
        entry = self.at(trial, images)
        return None if entry is None or entry.verdict == FAILED else entry.distance

    def finished(self, trial: int) -> bool:
        """Whether a trial has come to its end."""
        entry = self.last(trial)
        return entry is not None and entry.verdict == FINISHED

    def last(self, trial: int) -> Entry | None:
        """Where a trial stands."""
        return next((entry for entry in reversed(self.entries) if entry.trial == trial), None)

    def open(self, trials: int) -> list[int]:
        """Trials whose end is not written down yet."""
        last = {number: self.last(number) for number in range(trials)}
        return [number for number, entry in last.items() if entry is None or entry.verdict == CONTINUES]

    def _verdict(self, trial: int, images: int, distance: float | None) -> str:
        if distance is None or not math.isfinite(distance):
            return FAILED
        if images >= self.rungs[-1]:
            return FINISHED
        if trial == KEEPER or self.reduction is None:
            return CONTINUES
        before = [e.distance for e in self.entries if e.images == images and e.distance is not None]
        return CONTINUES if goes_on(distance, before, self.reduction) else STOPPED

    def _add(self, entry: Entry) -> None:
        """Write all lines aside and put them in the file's place: it is never cut short."""
        self.entries.append(entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f".{self.path.name}.partial")
        aside.write_text("".join(json.dumps(asdict(each)) + "\n" for each in self.entries), encoding="utf-8")
        flush(aside)
        aside.replace(self.path)

"""How far an evaluation has come: a bar with the time left on a terminal, JSON lines into a pipe.

Progress is counted in UNet passes, which is where the time goes: a teacher's picture of 50 guided steps counts 100.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_INTERVAL_S = 10.0
FOLLOWED_INTERVAL_S = 0.5
"""Of lines that nobody reads but a program."""


class Meter(Protocol):
    """Told what is being drawn and how many of all passes are done."""

    def __enter__(self) -> Meter:
        """Drawing starts."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drawing has ended, one way or the other."""
        ...

    def update(self, what: str, done: int, total: int) -> None:
        """`done` of `total` passes are behind us; now comes `what`."""
        ...


def console_meter(stream: IO[str] | None = None) -> Meter:
    """A bar on a terminal, JSON lines into a pipe; stdout unless another stream is given."""
    stream = sys.stdout if stream is None else stream
    return Bar() if stream.isatty() else Lines(stream)


class Bar:
    """A progress bar with the time left."""

    def __init__(self) -> None:
        columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._progress = Progress(TextColumn("evaluate"), *columns, TextColumn("{task.description}"))
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def update(self, what: str, done: int, total: int) -> None:
        """See `Meter`."""
        self._progress.update(self._task, description=what, completed=done, total=total)


@contextmanager
def file_meter(path: Path) -> Iterator[Meter]:
    """JSON lines into a file, which another process follows."""
    with path.open("w", encoding="utf-8") as stream:
        yield Lines(stream, FOLLOWED_INTERVAL_S)


@dataclass(frozen=True)
class Metered:
    """A `training.telemetry.Sink` that shows on a meter what a `file_meter` has written."""

    meter: Meter

    def open(self, images: int, total: int) -> None:
        """Drawing starts."""
        self.meter.__enter__()

    def record(self, record: Mapping[str, Any]) -> None:
        """One line more."""
        self.meter.update(record["what"], record["passes"], record["total_passes"])

    def close(self) -> None:
        """Drawing has ended."""
        self.meter.__exit__(None, None, None)


class Lines:
    """JSON lines, at most one in so many seconds, and the last one."""

    def __init__(self, stream: IO[str], interval_s: float = LINE_INTERVAL_S) -> None:
        self.stream = stream
        self._interval_s = interval_s
        self._written = -interval_s

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.flush()

    def update(self, what: str, done: int, total: int) -> None:
        """See `Meter`."""
        if done < total and time.monotonic() - self._written < self._interval_s:
            return
        line = {"stage": "evaluate", "what": what, "passes": done, "total_passes": total}
        self.stream.write(json.dumps(line) + "\n")
        self.stream.flush()
        self._written = time.monotonic()

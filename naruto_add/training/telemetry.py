"""What training tells: one record a step, to files (`metrics.jsonl`, TensorBoard) and to a console.

A record is a flat dictionary: images, total_images, step, seconds, images_per_s, wait_share (of the time, for data),
peak_rss_mb, and all that the method returned (losses, gradient norms, learning rates).
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Protocol, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from naruto_add.artifact import flush
from naruto_add.training.state import TrainState
from naruto_add.training.timeline import BETWEEN, DATA, REST, Timeline

Record = dict[str, float]
Item = TypeVar("Item")

METRICS = "metrics.jsonl"
BOOKKEEPING = ("images", "total_images", "step", "seconds", "images_per_s", "wait_share", "peak_rss_mb")
SHOWN_LOSSES = 5
LINE_INTERVAL_S = 10.0
POLL_INTERVAL_S = 0.5
TAIL_BYTES = 65536


class Sink(Protocol):
    """Somewhere records go."""

    def open(self, images: int, total: int) -> None:
        """Training starts, or goes on, at `images` of `total`."""
        ...

    def record(self, record: Record) -> None:
        """One step is done."""
        ...

    def close(self) -> None:
        """Training has ended, one way or the other."""
        ...


class Reporter:
    """Times the steps and hands one record for each to all sinks; without sinks it is silent."""

    def __init__(self, sinks: Sequence[Sink] = (), timeline: Timeline | None = None) -> None:
        self.sinks = sinks
        self.timeline = timeline or Timeline()
        """Told when training waits for data and when it is between two steps."""
        self._total = 0
        self._waited_s = 0.0
        self._since = time.perf_counter()

    @contextmanager
    def started(self, images: int, total: int) -> Iterator[None]:
        """Open the sinks for a run that starts at `images` of `total`, and close them whatever happens."""
        self._total = total
        for sink in self.sinks:
            sink.open(images, total)
        self._since = time.perf_counter()
        try:
            yield
        finally:
            for sink in self.sinks:
                sink.close()

    def rewind(self, images: int) -> None:
        """Training has gone back to `images`: the sinks forget what came after."""
        for sink in self.sinks:
            sink.close()
            sink.open(images, self._total)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside does not count as training time."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def waited(self, items: Iterator[Item]) -> Iterator[Item]:
        """The same items; the time spent waiting for each is the step's wait."""
        while True:
            start = time.perf_counter()
            self.timeline.turn_to(DATA)
            item = next(items, None)
            self.timeline.turn_to(REST)
            self._waited_s = time.perf_counter() - start
            if item is None:
                return
            yield item

    def log(self, state: TrainState, losses: Record) -> None:
        """Report the step that led to this state."""
        self.timeline.turn_to(BETWEEN)
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        record: Record = {
            "images": state.images,
            "total_images": self._total,
            "step": state.global_step,
            "seconds": round(seconds, 4),
            "images_per_s": round(state.batch_size / seconds, 3),
            "wait_share": round(self._waited_s / seconds, 4),
            "peak_rss_mb": peak_rss_mb(),
            **losses,
        }
        for sink in self.sinks:
            sink.record(record)


def peak_rss_mb() -> int:
    """The largest memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def file_sinks(folder: Path) -> list[Sink]:
    """metrics.jsonl and, if tensorboard is installed, event files, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    boards: list[Sink] = [Board(folder / "tensorboard")] if find_spec("tensorboard") else []
    return [JsonLines(folder / METRICS), *boards]


def console_sink(title: str) -> Sink:
    """A progress bar on a terminal, JSON lines into a pipe."""
    return Bar(title) if sys.stdout.isatty() else Lines(title, sys.stdout)


class JsonLines:
    """`metrics.jsonl`: one record a line; lines past the point of resumption are dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def open(self, images: int, total: int) -> None:
        """See `Sink`."""
        before = whole_lines(self.path.read_text(encoding="utf-8")) if self.path.is_file() else []
        kept = [line for line in before if json.loads(line)["images"] <= images]
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        partial.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8", buffering=1)

    def record(self, record: Record) -> None:
        """See `Sink`."""
        assert self._file is not None
        self._file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """See `Sink`."""
        assert self._file is not None
        self._file.close()
        flush(self.path)


class Board:
    """TensorBoard event files; imported when the first record comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, images: int, total: int) -> None:
        """See `Sink`; events past the point of resumption are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(self.folder, purge_step=images + 1)

    def record(self, record: Record) -> None:
        """See `Sink`."""
        for name, value in record.items():
            if name not in ("images", "total_images"):
                self._writer.add_scalar(name, value, int(record["images"]))

    def close(self) -> None:
        """See `Sink`."""
        self._writer.close()


class Bar:
    """A progress bar in images, with the time left and the losses."""

    def __init__(self, title: str) -> None:
        self.title = title
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[losses]}"))
        self._task = self._progress.add_task(title, total=None, losses="starting")

    def open(self, images: int, total: int) -> None:
        """See `Sink`."""
        self._progress.update(self._task, total=total, completed=images)
        self._progress.start()

    def record(self, record: Record) -> None:
        """See `Sink`."""
        self._progress.update(self._task, completed=record["images"], losses=summary(record))

    def close(self) -> None:
        """See `Sink`."""
        self._progress.stop()


class Lines:
    """JSON lines into a stream, at most one every ten seconds, and the last one."""

    def __init__(self, title: str, stream: IO[str]) -> None:
        self.title = title
        self.stream = stream
        self._last: Record | None = None
        self._written = -LINE_INTERVAL_S

    def open(self, images: int, total: int) -> None:
        """See `Sink`."""

    def record(self, record: Record) -> None:
        """See `Sink`."""
        self._last = record
        if time.monotonic() - self._written >= LINE_INTERVAL_S:
            self._write()

    def close(self) -> None:
        """See `Sink`."""
        if self._last is not None:
            self._write()

    def _write(self) -> None:
        self.stream.write(json.dumps({"stage": self.title, **(self._last or {})}) + "\n")
        self.stream.flush()
        self._last, self._written = None, time.monotonic()


def summary(record: Record) -> str:
    """Pace and the first few losses in one short line."""
    names = [name for name in record if name not in BOOKKEEPING][:SHOWN_LOSSES]
    losses = (f"{name} {record[name]:.3g}" for name in names)
    return " | ".join([f"{record['images_per_s']:.1f} images/s", *losses])


class Follower:
    """Shows on this process's console what another process writes to a file of records."""

    def __init__(self, path: Path, console: Sink, total: int = 0) -> None:
        self.path = path
        self.console = console
        self._seen = last_record(self.path)
        self._total = total
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="metrics", daemon=True)

    def __enter__(self) -> Follower:
        self.console.open(0 if self._seen is None else int(self._seen["images"]), self._total)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        self._show()
        self.console.close()

    def _follow(self) -> None:
        while not self._done.wait(POLL_INTERVAL_S):
            self._show()

    def _show(self) -> None:
        record = last_record(self.path)
        if record is not None and record != self._seen:
            self._seen = record
            self.console.record(record)


def last_record(path: Path) -> Record | None:
    """The newest whole record of a metrics.jsonl, or None."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = whole_lines(file.read().decode(errors="replace"))
    return json.loads(lines[-1]) if lines else None


def whole_lines(text: str) -> list[str]:
    """The lines of a text; a last one still being written is left out."""
    return text[: text.rfind("\n") + 1].splitlines()

"""What stops a run: numbers that are not finite, a collapsed adversarial game, a request from outside."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from naruto_add.data.batch import Batch
from naruto_add.errors import UserError
from naruto_add.training.engine import NonFinite
from naruto_add.training.method import Method
from naruto_add.training.state import TrainState
from naruto_add.training.world import World

STOP = "stop"
"""A file of this name in the work folder asks all workers to stop after the step at hand."""


class TrainingStopped(UserError):
    """Training ended before its time, for a reason that the user can act on; raised on all ranks."""


def guarded_step(method: Method, batch: Batch, state: TrainState, world: World) -> dict[str, float]:
    """One step of the method; its numbers are averaged over the ranks.

    Raises TrainingStopped on all ranks, before the update, if a loss or gradient is not finite on any; it names the
    samples.
    """
    try:
        losses = method.step(batch, state)
    except NonFinite as error:
        ids = world.gather(batch.ids if error.here else [-1] * len(batch))
        raise TrainingStopped(
            f"{error} at image {state.images}, in the samples {[n for n in ids if n >= 0]} of the training split. "
            "Nothing was updated. Look at these samples, or lower the learning rate; the same command resumes from "
            "the last checkpoint."
        ) from error
    return world.mean(losses)


class StopRequest:
    """Notices SIGTERM (in the main thread) and the stop file; the loop asks after every step."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / STOP
        self._signalled = False
        self._previous: Callable[[int, FrameType | None], Any] | int | None = None

    @property
    def requested(self) -> bool:
        """Whether somebody has asked."""
        return self._signalled or self._file.exists()

    def __enter__(self) -> StopRequest:
        if in_main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._notice)
        return self

    def __exit__(self, *exception: object) -> None:
        if in_main_thread():
            signal.signal(signal.SIGTERM, self._previous)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True


def in_main_thread() -> bool:
    """Whether signals can be handled here (Ray Train runs the loop in another thread)."""
    return threading.current_thread() is threading.main_thread()


def stopped(state: TrainState) -> TrainingStopped:
    """The message of a run that was asked to stop."""
    return TrainingStopped(f"stopped on request at image {state.images}, saved. The same command resumes there.")

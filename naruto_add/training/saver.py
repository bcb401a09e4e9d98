"""Checkpoints written beside training: a step waits for the copy of its tensors, a thread does the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from naruto_add.training import checkpoint
from naruto_add.training.guards import TrainingStopped
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState
from naruto_add.training.world import World

log = logging.getLogger(__name__)


class Saver:
    """Saves one checkpoint at a time; entered around training, whose end or stop waits for the last one.

    Writing is in two parts, every rank's tensors and then rank 0's commit. A thread never talks to other ranks: whether
    all have done the first part is asked in `advance`, between two steps, so all methods are called by all ranks alike;
    a rank alone goes on at once. A part that fails is raised by the next of them, on the rank where it failed.
    """

    def __init__(self, folder: Path, world: World) -> None:
        self._folder, self._world = folder, world
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._now: Future[None] | None = None
        """The part that is at work, or was and has not been asked about."""
        self._next: list[Callable[[], None]] = []

    def save(self, state: TrainState, players: Iterable[Player]) -> None:
        """Copy everything now and write it in the time to come, once the checkpoint before is whole."""
        self.finish()
        made = checkpoint.draft(self._folder, state, players, self._world)
        parts = [partial(checkpoint.write, made), partial(checkpoint.commit, replace(made, tensors={}))]
        self._next = list(parts) if self._world.size > 1 else [partial(in_turn, parts)]
        self._begin()

    def advance(self) -> None:
        """Begin the next part if all ranks have ended theirs."""
        part = self._now
        if part is None:
            return
        ended = part.done()
        if ended and part.exception() is not None:
            self._now = None
            part.result()
        if not self._world.any(not ended):
            self._begin()

    def finish(self) -> None:
        """Wait until the checkpoint that was begun last is whole."""
        while self._now is not None:
            wait([self._now])
            self.advance()

    def _begin(self) -> None:
        self._now = self._thread.submit(self._next.pop(0)) if self._next else None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Finish where all ranks come by. Where one has failed its own part ends, and hides no error by another."""
        try:
            if kind is None or issubclass(kind, TrainingStopped):
                self.finish()
            elif self._now is not None and (failure := self._now.exception()) is not None:
                log.warning("The last checkpoint could not be written either.", exc_info=failure)
        finally:
            self._thread.shutdown()


def in_turn(parts: Iterable[Callable[[], None]]) -> None:
    """Call one after the other."""
    for part in parts:
        part()

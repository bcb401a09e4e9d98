"""Continuous batching: one thread owns the models; pictures join and leave its batch between two UNet passes.

A short drawing never waits for a long one that started earlier: it takes a free place at the next pass and leaves as
soon as its own passes are made. The event loop only puts wishes in and awaits futures.
"""

from __future__ import annotations

import math
import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from serve.errors import ApiError
from serve.model import Drawing, Model, Pixels, Wish

YIELDS = 5
"""How much nicer than the event loop the engine is, in the steps of nice(1)."""
Preview = Callable[[int, Pixels], None]
"""Called from the engine's thread: number of the pass, picture so far."""


class Observer(Protocol):
    """Who wants to know what the engine does."""

    def on_pass(self, model: str, pictures: int, seconds: float) -> None:
        """A UNet pass of a batch."""

    def on_drawn(self, model: str, waited_s: float, drawn_s: float) -> None:
        """A picture, from its place in the queue and from its first pass."""


@dataclass(eq=False)
class Job:
    """A wish on its way to a picture (H,W,3) uint8; cancelling the future frees its place at the next pass."""

    model: str
    wish: Wish
    preview: Preview | None = None
    preview_after: frozenset[int] = frozenset()
    """The passes whose result is shown."""
    future: Future[Pixels] = field(default_factory=Future)
    entered: float = field(default_factory=time.monotonic)
    deadline: float = math.inf
    """Of the clock `time.monotonic`: when it has to be done, as promised when it was let in."""
    started: float = 0.0
    drawing: Drawing | None = None

    @property
    def passes_left(self) -> int:
        """How many are still to be made."""
        return self.wish.steps - (self.drawing.position if self.drawing else 0)


class Engine:
    """The queue and the thread. `waiting` counts jobs without a place, `drawing` those with one.

    A job is promised to be done within `max_slowdown` times what it takes alone, and who comes later is let in only
    where by the model's measured pace (`serve.pace`) nobody's promise is broken; 0: no promises.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        max_batch: int,
        max_waiting: int,
        observer: Observer,
        max_slowdown: float = 0.0,
    ) -> None:
        self.models, self.max_batch, self.max_waiting, self.observer = models, max_batch, max_waiting, observer
        self.max_slowdown = max_slowdown
        self._waiting: deque[Job] = deque()
        self._active: list[Job] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._seconds_drawing = 1.0
        self._passing: Sequence[Job] = ()
        self._pass_ends = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Make no further pass; what is unfinished fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    @property
    def healthy(self) -> bool:
        """Whether the thread is there to draw."""
        return self._thread.is_alive() and not self._stopping

    @property
    def waiting(self) -> int:
        """Pictures without a place in the batch."""
        return len(self._waiting)

    @property
    def drawing(self) -> int:
        """Pictures with one."""
        return len(self._active)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue all of them or none; raises ApiError 429 where the queue is full, 503 where nobody draws."""
        with self._changed:
            if self._stopping or not self.healthy:
                raise ApiError(503, "This server is going down; ask again in a moment.", code="unavailable", retry_s=1)
            present = [*self._waiting, *self._active]
            if len(present) + len(jobs) > self.max_batch + self.max_waiting:
                raise self._full(len(jobs), self._seconds_drawing * (self.waiting / self.max_batch + 1) / 2)
            if not self._in_time(jobs, present):
                raise self._full(len(jobs), self._first_done_s(jobs[0].model))
            self._waiting.extend(jobs)
            self._changed.notify_all()

    def _in_time(self, jobs: Sequence[Job], present: Sequence[Job]) -> bool:
        """Promise these jobs of one model their time, and tell whether all promises for this model can be kept.

        A model at rest takes any request, however many pictures.
        """
        if not jobs or not self.max_slowdown:
            return True
        now, pace = time.monotonic(), self.models[jobs[0].model].pace
        for job, alone_s in zip(jobs, pace.done_s([job.passes_left for job in jobs], self.max_batch), strict=True):
            job.deadline = now + self.max_slowdown * pace.usual_slowness * alone_s
        left = self._left(jobs[0].model, present)
        everybody = [*left, *jobs]
        passes = [*left.values(), *(job.passes_left for job in jobs)]
        begin = max(now, self._pass_ends)
        return not left or all(
            begin + pace.slowness * seconds <= job.deadline
            for job, seconds in zip(everybody, pace.done_s(passes, self.max_batch), strict=True)
        )

    def _left(self, model: str, present: Iterable[Job]) -> dict[Job, int]:
        """The passes that pictures of this model lack, once the pass at work is made."""
        return {
            job: max(0, job.passes_left - (job in self._passing))
            for job in present
            if job.model == model and not job.future.done()
        }

    def _first_done_s(self, model: str) -> float:
        """Seconds until the first picture of this model is done, as quick as passes are now."""
        pace, left = self.models[model].pace, list(self._left(model, [*self._waiting, *self._active]).values())
        wait_s = max(0.0, self._pass_ends - time.monotonic())
        return wait_s + pace.slowness * min(pace.done_s(left, self.max_batch), default=0.0)

    def _full(self, wanted: int, seconds: float) -> ApiError:
        """The refusal: come back some time after that, for it is a guess; not all at the same time."""
        seconds *= random.uniform(1.2, 2.0)
        text = f"All places are taken ({self.drawing} pictures in work, {self.waiting} waiting)."
        text = f"{text} Try again in {seconds:.1f} s."
        return ApiError(429, text, code="queue_full", retry_s=seconds, full=wanted == 1)

    def _run(self) -> None:
        """The thread: fill the batch, make a pass, hand out what is done. Whatever ends it, nobody waits in vain."""
        step_back()
        try:
            while self._fill():
                self._pass()
        finally:
            with self._changed:
                self._stopping = True
                unfinished = [*self._active, *self._waiting]
                self._active.clear()
                self._waiting.clear()
            gone = ApiError(503, "This server is going down; ask again in a moment.", code="unavailable", retry_s=1)
            for job in unfinished:
                settle(job.future, gone)

    def _fill(self) -> bool:
        """Give free places to those who wait, sleeping while there is nobody; False when it is time to stop."""
        with self._changed:
            while not self._stopping and not self._waiting and not self._active:
                self._changed.wait()
            self._active = [job for job in self._active if not job.future.cancelled()]
            while self._waiting and len(self._active) < self.max_batch:
                job = self._waiting.popleft()
                if not job.future.cancelled():
                    self._active.append(job)
            return not self._stopping

    def _pass(self) -> None:
        """One UNet pass of the pictures of one model, the one whose turn it is."""
        if not self._active:
            return
        name = self._active[0].model
        model = self.models[name]
        jobs = [job for job in self._active if job.model == name and guard([job], partial(self._start, model, job))]
        if jobs:
            guard(jobs, partial(self._advance, model, jobs))
        others = [job for job in self._active if job.model != name]  # models take turns
        self._active = [job for job in [*others, *jobs] if not job.future.done()]

    def _start(self, model: Model, job: Job) -> None:
        """Begin the drawing of a job that is new."""
        if job.drawing is None:
            job.started = time.monotonic()
            job.drawing = model.start(job.wish)

    def _advance(self, model: Model, jobs: Sequence[Job]) -> None:
        """Make the pass, finish those that are done, preview those that want it."""
        began = time.monotonic()
        self._passing, self._pass_ends = jobs, began + model.pace.slowness * model.pace.pass_s(len(jobs))
        model.advance([job.drawing for job in jobs if job.drawing is not None])
        self._passing, seconds = (), time.monotonic() - began
        model.pace.note_pass(len(jobs), seconds)
        self.observer.on_pass(model.ability.name, len(jobs), seconds)
        for job in jobs:
            self._show(model, job)

    def _show(self, model: Model, job: Job) -> None:
        """Hand out the picture if it is done, a preview if one is wanted."""
        assert job.drawing is not None
        if job.future.cancelled():
            return
        if not job.drawing.done:
            if job.preview is not None and job.drawing.position in job.preview_after:
                job.preview(job.drawing.position, model.picture(job.drawing))
            return
        began = time.monotonic()
        pixels, now = model.picture(job.drawing), time.monotonic()
        model.pace.note_decode(now - began)
        settle(job.future, pixels)
        self._seconds_drawing += 0.2 * (now - job.started - self._seconds_drawing)
        self.observer.on_drawn(job.model, job.started - job.entered, now - job.started)


def step_back() -> None:
    """Let the calling thread compute only when nobody else wants the core: refusing must be quick while drawing is not.

    Linux has priorities for threads; elsewhere nothing is done.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        priority = os.getpriority(os.PRIO_PROCESS, thread) + YIELDS
        os.setpriority(os.PRIO_PROCESS, thread, min(priority, 19))


def guard(jobs: Sequence[Job], work: Callable[[], None]) -> bool:
    """Do the work for these jobs; returns whether it went well. What torch raises is theirs, and the engine goes on."""
    try:
        work()
    except (RuntimeError, ValueError, MemoryError) as error:
        for job in jobs:
            settle(job.future, error)
        return False
    return True


def settle(future: Future[Pixels], outcome: Pixels | Exception) -> None:
    """Give a future its outcome, unless whoever waited has left."""
    if future.done() or not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)

"""Ray Data's feed of training batches, in the exact order of the feed that runs in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

import ray

from naruto_add.data.batch import Batch
from naruto_add.data.feed import to_batch
from naruto_add.data.view import View
from naruto_add.on_ray.capacity import READ_CPUS
from naruto_add.on_ray.data import ordered
from naruto_add.on_ray.tasks import read_rows

T = TypeVar("T")

ROWS_PER_TASK = 64
"""Training rows of a reading task."""
WINDOW_ROWS = 256
"""Training rows that are read as one dataset."""


@dataclass(frozen=True)
class RayFeed:
    """A `Feed` whose rows are read ahead by Ray Data, anywhere on the cluster, and arrive in order.

    The dataset holds nothing but row numbers; which images they mean follows from the seed, the position reached and
    the rank, so that resuming replays nothing. The cache and the shards must be readable on every machine.

    They are read in windows, one ahead and each to its end. Ray Data's executor lives in this process, and while
    somebody has still to take its last row it runs in circles and holds the interpreter's lock: steps took ten times
    as long.
    """

    view: View

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """See `Feed.batches`."""
        share = self.view.share
        count = self.view.steps(start, stop) * share
        window = max(WINDOW_ROWS // share, 1) * share
        windows = [(at, min(at + window, count)) for at in range(0, count, window)]
        yield from chain.from_iterable(one_ahead([partial(self._open, start, *rows) for rows in windows]))

    def _open(self, start: int, first: int, last: int) -> Iterator[Batch]:
        """The batches of rows [first, last), all of them already here, as 8-bit or half-precision columns."""
        share = self.view.share
        numbers = [{"row": row} for row in range(first, last)]  # from_arrow would wait for a whole CPU to look at them
        rows = ordered(ray.data.from_items(numbers, override_num_blocks=-(-len(numbers) // ROWS_PER_TASK)))
        read_ahead = rows.map_batches(partial(read_rows, self.view, start), batch_size=share, num_cpus=READ_CPUS)
        return map(to_batch, list(read_ahead.iter_batches(batch_size=share, batch_format="numpy")))


def one_ahead(calls: Sequence[Callable[[], T]]) -> Iterator[T]:
    """What the calls return, in order; each is made in a thread while the caller still works on the one before."""
    with ThreadPoolExecutor(1) as thread:
        following: list[Future[T]] = []
        for call in calls:
            following.append(thread.submit(call))
            if len(following) == 2:
                yield following.pop(0).result()
        yield from (last.result() for last in following)

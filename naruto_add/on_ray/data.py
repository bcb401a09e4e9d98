"""Ray Data: preparing images on many machines, and feeding training batches in the exact order.

Both keep the order of rows (`preserve_order`), so their results are those of the functions that run in one process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

import ray

from naruto_add.data.batch import Batch
from naruto_add.data.feed import to_batch
from naruto_add.data.ingest import Item
from naruto_add.data.prepare import Outcome
from naruto_add.data.view import View
from naruto_add.errors import UserError
from naruto_add.on_ray.capacity import READ_CPUS
from naruto_add.on_ray.tasks import FAILED, process_rows, read_rows

T = TypeVar("T")

ITEMS_PER_TASK = 64
ROWS_PER_TASK = 64
"""Training rows of a reading task."""
WINDOW_ROWS = 256
"""Training rows that are read as one dataset."""
PART_BYTES = 16 * 2**20
"""Of the rows that a reading task hands over at once."""


def ray_map(function: Callable[[Item], Outcome], items: Sequence[Item]) -> Iterator[Outcome]:
    """A `data.prepare.Mapper` that works on the whole cluster; raises the UserError that `function` raised."""
    tasks = -(-len(items) // ITEMS_PER_TASK)
    rows = ordered(ray.data.from_items([asdict(item) for item in items], override_num_blocks=tasks))
    done = rows.map_batches(partial(process_rows, function), batch_size=None, batch_format="pyarrow")
    for table in done.iter_batches(batch_size=ITEMS_PER_TASK, batch_format="pyarrow"):
        for row in table.to_pylist():
            outcome = Outcome(**row)
            if outcome.reason == FAILED:
                raise UserError(outcome.detail)
            yield outcome


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


def ordered(data: ray.data.Dataset) -> ray.data.Dataset:
    """The dataset, executed in order, without progress bars and without telling its plan."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.context.execution_options.preserve_order = True
    data.context.enable_progress_bars = False
    data.context.target_max_block_size = PART_BYTES
    return data

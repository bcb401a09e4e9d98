"""Ray Data: work on rows on many machines, in their order (`preserve_order`), so that the results are one process's.

Torch is not imported here: preparing needs none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial

import ray

from naruto_add.data.ingest import Item
from naruto_add.data.prepare import Outcome
from naruto_add.errors import UserError
from naruto_add.on_ray.tasks import FAILED, process_rows

ITEMS_PER_TASK = 64
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


def ordered(data: ray.data.Dataset) -> ray.data.Dataset:
    """The dataset, executed in order, without progress bars and without telling its plan."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.context.execution_options.preserve_order = True
    data.context.enable_progress_bars = False
    data.context.target_max_block_size = PART_BYTES
    return data

"""Batches read in this process, and how rows become a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from naruto_add.data.ahead import read_ahead
from naruto_add.data.batch import Batch
from naruto_add.data.cache import as_float
from naruto_add.data.view import Columns, View, read


@dataclass(frozen=True)
class LocalFeed:
    """A `Feed` that reads in this process."""

    view: View
    ahead: int = 0
    """Batches read beforehand by threads: for a GPU, which is done with a batch before the next one is read. On a
    processor they would take their time from the training."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """See `Feed.batches`."""
        view = self.view

        def rows(step: int) -> Columns:
            """One step's."""
            return read(view, view.positions(start, np.arange(step * view.share, (step + 1) * view.share)))

        steps = range(view.steps(start, stop))
        return map(to_batch, read_ahead(rows, steps, self.ahead) if self.ahead else map(rows, steps))


def to_batch(columns: Columns) -> Batch:
    """A batch of float32 tensors from the arrays that `read` gives."""
    return Batch(
        positions=columns["positions"].tolist(),
        ids=columns["ids"].tolist(),
        latents=as_float(columns["latents"]),
        text=as_float(columns["text"]),
        pooled=as_float(columns["pooled"]),
        pixels=as_float(columns["pixels"]) / 127.5 - 1 if "pixels" in columns else None,
    )

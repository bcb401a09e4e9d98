"""Batches read in this process, and how rows become a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from naruto_add.data.batch import Batch
from naruto_add.data.cache import as_float
from naruto_add.data.view import Columns, View, read


@dataclass(frozen=True)
class LocalFeed:
    """A `Feed` that reads in this process."""

    view: View

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """See `Feed.batches`."""
        view = self.view
        for step in range(view.steps(start, stop)):
            rows = np.arange(step * view.share, (step + 1) * view.share)
            yield to_batch(read(view, view.positions(start, rows)))


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

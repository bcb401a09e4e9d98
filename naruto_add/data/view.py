"""What one rank sees of a training set, and how its rows are read; without torch, so that tasks start fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from naruto_add.data.cache import LatentCache
from naruto_add.data.order import ids_at
from naruto_add.data.shards import Shards
from naruto_add.errors import UserError

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class View:
    """What one rank sees of a training set: it can be sent to another process."""

    shards: Shards
    cache: LatentCache
    seed: int
    batch_size: int
    """Images of a global batch."""
    rank: int = 0
    world: int = 1
    pixels: bool = False
    """Read the images too, not only their latents."""

    def __post_init__(self) -> None:
        if self.batch_size % self.world:
            raise UserError(
                f"batch_size {self.batch_size} cannot be shared by {self.world} workers; "
                f"choose a multiple of {self.world}, or other compute.workers."
            )

    @property
    def share(self) -> int:
        """Images of a global batch that belong to this rank."""
        return self.batch_size // self.world

    def steps(self, start: int, stop: int) -> int:
        """Global batches that cover [start, stop)."""
        return max(0, -(-(stop - start) // self.batch_size))

    def positions(self, start: int, rows: np.ndarray) -> np.ndarray:
        """Global positions of this rank's rows 0, 1, 2, ... when training starts at `start`."""
        return start + rows // self.share * self.batch_size + self.rank * self.share + rows % self.share


def read(view: View, positions: np.ndarray) -> Columns:
    """The rows at these global positions as plain arrays (pixels uint8, text in half precision as cached)."""
    ids = [ids_at(view.seed, p, p + 1, view.cache.count)[0] for p in positions.tolist()]
    columns = {
        "positions": np.asarray(positions, dtype=np.int64),
        "ids": np.asarray(ids, dtype=np.int64),
        "latents": view.cache.rows("latents", ids),
        "text": view.cache.rows("text", ids),
        "pooled": view.cache.rows("pooled", ids),
    }
    if view.pixels:
        columns["pixels"] = view.shards.arrays(view.cache.split, ids)
    return columns

"""The latent cache, for reading: encoded images and captions, one safetensors file per shard.

Torch is imported only where tensors are asked for: the tasks that read training rows start faster without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LatentCache:
    """An encoded split; small, and can be sent to other processes. Written by `data.latents.encode`."""

    split: str
    files: tuple[Path, ...]
    """One per shard."""
    ends: tuple[int, ...]
    """The first id after each file."""
    uncond: Path
    """The encoded empty caption."""

    @property
    def count(self) -> int:
        """Samples in the split."""
        return self.ends[-1] if self.ends else 0

    def latents(self, ids: Sequence[int]) -> torch.Tensor:
        """Scaled latents, float32, shape (N, C, h, w)."""
        return as_float(self.rows("latents", ids))

    def text(self, ids: Sequence[int]) -> torch.Tensor:
        """Last hidden states of the text encoder, float32 (stored in half precision), shape (N, L, D)."""
        return as_float(self.rows("text", ids))

    def pooled(self, ids: Sequence[int]) -> torch.Tensor:
        """Pooled caption embeddings, float32, shape (N, P)."""
        return as_float(self.rows("pooled", ids))

    @property
    def uncond_text(self) -> torch.Tensor:
        """The empty caption's hidden states, float32, shape (L, D)."""
        return as_float(open_file(self.uncond).get_tensor("text")[0])

    @property
    def uncond_pooled(self) -> torch.Tensor:
        """The empty caption's pooled embedding, float32, shape (P,)."""
        return as_float(open_file(self.uncond).get_tensor("pooled")[0])

    def rows(self, name: str, ids: Sequence[int]) -> np.ndarray:
        """The rows with these ids of one stored tensor (latents, text, pooled), as stored."""
        starts = (0, *self.ends)
        found = []
        for number, place in zip(ids, np.searchsorted(self.ends, ids, side="right").tolist(), strict=True):
            row = number - starts[place]
            found.append(open_file(self.files[place]).get_slice(name)[row : row + 1])
        return np.concatenate(found)


@lru_cache(maxsize=256)
def open_file(path: Path) -> Any:
    """An open (memory-mapped) safetensors file of the cache."""
    return safe_open(path, framework="np")


def as_float(values: np.ndarray) -> torch.Tensor:
    """A float32 tensor that owns its memory."""
    import torch

    return torch.tensor(values, dtype=torch.float32)

"""Addressed randomness: every random number is a function of (seed, stream, position), never of history.

A `position` is the running number of an image in training (images seen so far) or the number of an image in an
evaluation. So neither resuming, nor the number of workers, nor the batch size changes what is drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def address(seed: int, stream: str, *position: int) -> int:
    """A 63-bit seed for one place: the blake2b hash of (seed, stream, position)."""
    text = f"{seed}/{stream}/" + "/".join(str(int(p)) for p in position)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, stream: str, *position: int) -> torch.Generator:
    """A CPU generator that starts at the address (seed, stream, position)."""
    import torch

    return torch.Generator().manual_seed(address(seed, stream, *position))


def normal(shape: Sequence[int], seed: int, stream: str, positions: Sequence[int]) -> torch.Tensor:
    """Standard normal noise, float32 on CPU, shape (len(positions), *shape): one address per row."""
    import torch

    return torch.stack([torch.randn(tuple(shape), generator=generator(seed, stream, p)) for p in positions])


def uniform(seed: int, stream: str, positions: Sequence[int]) -> torch.Tensor:
    """Uniform numbers in [0, 1), float32 on CPU, shape (len(positions),): one address per entry."""
    import torch

    return torch.stack([torch.rand((), generator=generator(seed, stream, p)) for p in positions])


def integers(high: int, seed: int, stream: str, positions: Sequence[int]) -> torch.Tensor:
    """Uniform integers in [0, high), int64 on CPU, shape (len(positions),): one address per entry."""
    import torch

    return torch.stack([torch.randint(high, (), generator=generator(seed, stream, p)) for p in positions])

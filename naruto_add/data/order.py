"""The order of training images: a function of the seed alone, with random access to any position.

A global position is the running number of an image in training; position p lies in epoch p // count. An epoch visits
every id once: blocks of neighbouring ids (they share a shard) are permuted, every `BLOCKS` of them form a window, and
the window is permuted within. So reading touches few shards at a time, and only the list of blocks is held in memory.
Torch is not imported here: the tasks that read training rows start faster without it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from naruto_add import rng

WINDOW = 4096
BLOCKS = 16


def order(seed: int, epoch: int, count: int, window: int = WINDOW) -> np.ndarray:
    """The ids 0..count-1 in the order of this epoch, int64, shape (count,)."""
    return ids_within(seed, epoch, 0, count, count, window)


def ids_at(seed: int, start: int, stop: int, count: int, window: int = WINDOW) -> list[int]:
    """The ids at the global positions [start, stop) of a training set of `count` images."""
    found: list[int] = []
    while start < stop:
        epoch, offset = divmod(start, count)
        end = min(count, offset + stop - start)
        found += ids_within(seed, epoch, offset, end, count, window).tolist()
        start += end - offset
    return found


def ids_within(seed: int, epoch: int, start: int, stop: int, count: int, window: int) -> np.ndarray:
    """The ids at the places [start, stop) of one epoch; only the windows touched are computed."""
    starts = window_starts(seed, epoch, count, window)
    first = int(np.searchsorted(starts, start, side="right")) - 1
    last = int(np.searchsorted(starts, stop, side="left"))
    ids = np.concatenate([window_ids(seed, epoch, number, count, window) for number in range(first, last)])
    return ids[start - starts[first] : stop - starts[first]]


@lru_cache(maxsize=4)
def permuted_blocks(seed: int, epoch: int, count: int, window: int) -> np.ndarray:
    """Block numbers in this epoch's order, int64, shape (ceil(count / block),)."""
    blocks = -(-count // block_length(window))
    return permutation(blocks, rng.address(seed, "order/blocks", epoch))


@lru_cache(maxsize=4)
def window_starts(seed: int, epoch: int, count: int, window: int) -> np.ndarray:
    """The place in the epoch at which each window starts (the block that holds the last ids may be short)."""
    length = block_length(window)
    blocks = permuted_blocks(seed, epoch, count, window)
    lengths = np.minimum((blocks + 1) * length, count) - blocks * length
    return np.concatenate([[0], np.cumsum(lengths)])[:-1][::BLOCKS]


@lru_cache(maxsize=8)
def window_ids(seed: int, epoch: int, number: int, count: int, window: int) -> np.ndarray:
    """The ids of one window in this epoch's order."""
    length = block_length(window)
    blocks = permuted_blocks(seed, epoch, count, window)[number * BLOCKS : (number + 1) * BLOCKS]
    ids = np.concatenate([np.arange(b * length, min((b + 1) * length, count)) for b in blocks.tolist()])
    return ids[permutation(len(ids), rng.address(seed, "order/window", epoch, number))]


def block_length(window: int) -> int:
    """Neighbouring ids that stay together in a window."""
    return max(1, window // BLOCKS)


def permutation(count: int, address: int) -> np.ndarray:
    """The permutation of 0..count-1 that belongs to an address: the order of raw Philox words.

    NumPy promises that raw words never change; it does not promise so for its own permutations (NEP 19).
    """
    return np.argsort(np.random.Philox(key=address).random_raw(count), kind="stable")

"""Reading ahead: the next item is made by another thread while this one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")


def read_ahead(read: Callable[[Key], Item], keys: Iterable[Key], ahead: int) -> Iterator[Item]:
    """`read(key)` of every key, in order, up to `ahead` of them made beforehand by as many threads.

    What `read` raises is raised here, in its turn. Left early, it makes no more than what has begun.
    """
    left = iter(keys)
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="read-ahead")
    try:
        waiting = [pool.submit(read, key) for key in islice(left, ahead)]
        while waiting:
            item = waiting.pop(0).result()
            waiting += [pool.submit(read, key) for key in islice(left, 1)]
            yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

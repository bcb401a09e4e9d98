from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from naruto_add.data.ahead import read_ahead


@pytest.mark.parametrize("ahead", [1, 3, 20])
def test_everything_comes_in_order(ahead: int) -> None:
    assert list(read_ahead(lambda key: key * key, range(10), ahead)) == [key * key for key in range(10)]


def test_the_next_is_read_while_this_one_is_used() -> None:
    read = [threading.Event() for _ in range(5)]
    for key in read_ahead(lambda key: read[key].set() or key, range(5), 2):
        assert all(event.wait(5) for event in read[: key + 3])
        assert not any(event.is_set() for event in read[key + 3 :])


def test_an_error_comes_in_its_turn() -> None:
    found: Iterator[float] = read_ahead(lambda key: 1 / key, [2, 1, 0, 4], 4)
    assert [next(found), next(found)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_who_leaves_leaves_no_thread() -> None:
    def reading() -> bool:
        return any(thread.name.startswith("read-ahead") for thread in threading.enumerate())

    found = read_ahead(str, range(1000), 3)
    assert next(found) == "0" and reading()
    found.close()
    assert not reading()

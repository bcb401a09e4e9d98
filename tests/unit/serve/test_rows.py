"""A batch is cut so that it takes the least time, and not for a network that rounds otherwise than that for one row."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from serve.rows import Network, Rows, alike, cuts, filled

WEIGHTS = torch.randn(300, 7, generator=torch.Generator().manual_seed(0))


def draw(rows: int) -> Sequence[Tensor]:
    return torch.randn(rows, 300), torch.randn(rows, 1)


def summed(order: Iterable[int], x: Tensor, shift: Tensor) -> Tensor:
    """x W + shift, the products added one by one in this order."""
    total = torch.zeros(len(x), WEIGHTS.shape[1])
    for number in order:
        total = total + x[:, number, None] * WEIGHTS[number]
    return total + shift


def in_order(*inputs: Tensor) -> Tensor:
    return summed(range(300), *inputs)


def backwards(*inputs: Tensor) -> Tensor:
    return summed(reversed(range(300)), *inputs)


def last_backwards(*inputs: Tensor) -> Tensor:
    """The last row alone in another order, as a kernel's tail may."""
    first, last = [each[:-1] for each in inputs], [each[-1:] for each in inputs]
    return torch.cat([in_order(*first), backwards(*last)])


def test_another_order_of_summing_is_found_in_any_position() -> None:
    inputs = draw(4)
    assert alike(in_order, in_order, inputs)
    assert torch.allclose(backwards(*inputs), in_order(*inputs), rtol=0, atol=1e-4)
    assert not alike(backwards, in_order, inputs)
    assert not alike(last_backwards, in_order, inputs)


@pytest.mark.parametrize("other", [backwards, last_backwards])
def test_what_rounds_otherwise_is_not_used(other: Network, caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows(in_order)
    with caplog.at_level(logging.WARNING):
        assert not rows.offer(4, other, draw)
    assert rows.sizes == [1] and "4 rows" in caplog.text
    inputs = draw(9)
    assert alike(rows, in_order, inputs)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11])
def test_a_batch_of_any_size_has_the_bits_of_its_rows(count: int) -> None:
    rows, seen = Rows(in_order), []

    def noted(*inputs: Tensor) -> Tensor:
        seen.append(len(inputs[0]))
        return in_order(*inputs)

    assert rows.offer(4, noted, draw) and rows.offer(8, noted, draw)
    seen.clear()
    inputs = draw(count)
    assert torch.equal(
        rows(*inputs), torch.cat([in_order(*row) for row in zip(*(i.split(1) for i in inputs), strict=True)])
    )
    assert set(seen) <= {4, 8}, "a network is given as many rows as it is for"


def test_cuts_by_the_shipped_student_s_times() -> None:
    """Milliseconds as measured: two are quicker as a pass for two, seven as one for eight with a row idle."""
    seconds = {1: 9.5, 2: 14.5, 4: 22.9, 8: 42.7}
    assert [cuts(rows, seconds) for rows in range(1, 9)] == [[1], [2], [4], [4], [4, 1], [4, 2], [8], [8]]
    assert cuts(19, seconds) == [8, 8, 4]


@given(st.integers(1, 20), st.dictionaries(st.sampled_from([2, 3, 4, 8]), st.floats(0.1, 10)), st.floats(0.1, 10))
def test_cuts_hold_all_rows_in_no_more_time_than_one_by_one(rows: int, more: dict[int, float], one: float) -> None:
    seconds = {1: one, **more}
    found = cuts(rows, seconds)
    assert sum(found) >= rows > sum(found[:-1])
    assert sum(seconds[size] for size in found) <= rows * one * (1 + 1e-9)
    assert all(sum(seconds[size] for size in found) <= -(-rows // size) * seconds[size] * (1 + 1e-9) for size in more)


def test_idle_rows_are_the_last_one_again() -> None:
    x = torch.arange(3)[:, None]
    assert filled([x], 5)[0].flatten().tolist() == [0, 1, 2, 2, 2]
    assert filled([x], 3)[0] is x

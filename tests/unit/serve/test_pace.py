from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.pace import Pace


def pace(*passes_ms: float, decode_ms: float) -> Pace:
    """A pace with a pass of 1, 2 ... pictures in these milliseconds."""
    made = Pace()
    for pictures, milliseconds in enumerate(passes_ms, 1):
        made.note_pass(pictures, milliseconds / 1e3)
    made.note_decode(decode_ms / 1e3)
    return made


def test_passes_are_shared_and_pictures_decoded_one_by_one() -> None:
    linear = pace(*(10.0 * n for n in range(1, 9)), decode_ms=10)
    assert linear.done_s([4], 8) == [pytest.approx(0.050)] and linear.done_s([4] * 4, 8) == [pytest.approx(0.200)] * 4
    flat = pace(*[10.0] * 8, decode_ms=0.5)
    assert flat.done_s([4] * 8, 8)[0] == pytest.approx(0.044)
    assert flat.done_s([4] * 16, 8)[0] == pytest.approx(0.088), "twice as many as a batch holds take turns"


def test_who_leaves_earlier_or_comes_later_is_company_for_so_long() -> None:
    linear = pace(*(10.0 * n for n in range(1, 9)), decode_ms=10)
    long, short = linear.done_s([4, 1], 8)
    assert long == pytest.approx(0.020 + 3 * 0.010 + 2 * 0.010)
    assert short == pytest.approx(0.020 + 0.010), "the other one is decoded later"


def test_the_least_counts_and_gaps_are_filled() -> None:
    made = pace(10, decode_ms=1)
    made.note_pass(1, 0.5)
    made.note_pass(4, 0.040)
    assert made.pass_s(1) == pytest.approx(0.010) and made.pass_s(2) == pytest.approx(0.020)


def test_a_busy_machine_makes_no_promise_longer_and_is_known_to_be_slow() -> None:
    made = pace(10, 20, decode_ms=1)
    assert made.slowness == pytest.approx(1)
    for _ in range(30):
        made.note_pass(2, 0.060)
    assert made.slowness == pytest.approx(3, rel=0.01) and made.pass_s(2) == pytest.approx(0.020)
    for _ in range(30):
        made.note_pass(1, 0.010)
    assert made.slowness == pytest.approx(1, rel=0.01), "and when it is quiet again that is known too"


def test_what_is_usual_is_how_a_picture_without_company_is_drawn() -> None:
    made = pace(10, 20, decode_ms=1)
    for _ in range(99):
        made.note_pass(2, 0.060)
    assert made.usual_slowness == 1, "a crowd is not usual, however slow it makes things"
    for _ in range(99):
        made.note_pass(1, 0.015)
    assert made.usual_slowness == pytest.approx(1.5, rel=0.02)


@given(st.lists(st.floats(1, 100), min_size=8, max_size=8), st.floats(0, 50), st.integers(1, 8), st.integers(1, 31))
def test_company_never_makes_it_quicker(times: list[float], decode_ms: float, passes: int, pictures: int) -> None:
    made = pace(*sorted(times), decode_ms=decode_ms)
    company = [passes] * pictures
    assert made.done_s(company, 8)[0] <= made.done_s([*company, passes], 8)[0] * (1 + 1e-9)

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naruto_add.data.dedupe import duplicates, heldout

FEW_BITS = st.integers(0, 2**6 - 1).map(lambda n: n << 20)
HASHES = st.lists(st.one_of(st.integers(0, 2**64 - 1), FEW_BITS), max_size=60)


@given(HASHES, st.integers(0, 9))
def test_it_agrees_with_comparing_all_pairs(hashes: list[int], bits: int) -> None:
    kept: list[int] = []
    expected: dict[int, int] = {}
    for number, value in enumerate(hashes):
        match = next((other for other in kept if (hashes[other] ^ value).bit_count() <= bits), None)
        if match is None:
            kept.append(number)
        else:
            expected[number] = match
    assert duplicates(hashes, bits) == expected


@pytest.mark.parametrize("flipped", [(0, 1, 2), (61, 62, 63), (0, 31, 63), (15, 16, 17)])
def test_three_bits_anywhere_are_found(flipped: tuple[int, ...]) -> None:
    value = random.Random(0).getrandbits(64)
    other = value ^ sum(1 << bit for bit in flipped)
    assert duplicates([value, other], 3) == {1: 0}
    assert duplicates([value, other], 2) == {}


def test_100_000_images_take_seconds() -> None:
    chance = random.Random(0)
    hashes = [chance.getrandbits(64) for _ in range(50_000)]
    hashes += [value ^ (1 << chance.randrange(64)) for value in hashes]
    started = time.process_time()
    assert len(duplicates(hashes, 3)) == 50_000
    assert time.process_time() - started < 10


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 50), st.randoms(use_true_random=False))
def test_the_split_depends_on_contents_alone(contents: list[str], wanted: int, chance: random.Random) -> None:
    shuffled = chance.sample(contents, len(contents))
    chosen = {contents[n] for n in heldout(contents, wanted)}
    assert chosen == {shuffled[n] for n in heldout(shuffled, wanted)}
    assert len(chosen) == min(wanted, len(contents) // 3)


def test_one_more_image_moves_at_most_one_place() -> None:
    contents = [f"{random.Random(n).getrandbits(64):016x}" for n in range(100)]
    before = {contents[n] for n in heldout(contents, 20)}
    for extra in ("0" * 16, "f" * 16):
        after = {[*contents, extra][n] for n in heldout([*contents, extra], 20)}
        assert len(before - after) <= 1

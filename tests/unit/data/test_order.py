from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from naruto_add.data.order import ids_at, ids_within, order

SEEDS = st.integers(0, 2**31)
COUNTS = st.integers(1, 300)
WINDOWS = st.sampled_from([1, 16, 40, 64, 4096])


@given(SEEDS, st.integers(0, 50), COUNTS, WINDOWS)
def test_an_epoch_visits_every_id_once(seed: int, epoch: int, count: int, window: int) -> None:
    assert sorted(order(seed, epoch, count, window).tolist()) == list(range(count))


@given(SEEDS, COUNTS, WINDOWS, st.data())
def test_any_position_is_reached_without_replay(seed: int, count: int, window: int, data: st.DataObject) -> None:
    replayed = [n for epoch in range(3) for n in order(seed, epoch, count, window).tolist()]
    start = data.draw(st.integers(0, 3 * count))
    stop = data.draw(st.integers(start, 3 * count))
    assert ids_at(seed, start, stop, count, window) == replayed[start:stop]


def test_epochs_and_seeds_differ() -> None:
    first = order(0, 0, 200, 4096)
    assert not np.array_equal(first, order(0, 1, 200, 4096))
    assert not np.array_equal(first, order(1, 0, 200, 4096))


def test_small_sets_are_shuffled_globally() -> None:
    """Neighbours stay no nearer than in a uniform permutation: mean distance of n ids is about n / 3."""
    places = np.argsort(order(3, 0, 2000, 4096))
    assert abs(np.abs(np.diff(places)).mean() / 2000 - 1 / 3) < 0.03


def test_a_window_reads_few_shards() -> None:
    window = order(0, 0, 100_000, 4096)[:4096]
    assert len(np.unique(window // 256)) == 16


def test_the_order_is_the_same_on_every_machine() -> None:
    """Golden values: a changed order would silently change every recorded run."""
    assert order(0, 0, 10, 4096).tolist() == [0, 8, 7, 1, 2, 6, 5, 4, 9, 3]


def test_short_windows_and_late_epochs_have_golden_values_too() -> None:
    assert order(7, 3, 24, 16).tolist()[:8] == [2, 9, 7, 13, 23, 8, 22, 3]
    assert ids_at(7, 70, 76, 24, 32) == [12, 6, 4, 11, 22, 15]


def test_places_within_an_epoch_are_a_slice_of_it() -> None:
    whole = order(5, 1, 500, 32)
    for start, stop in ((0, 32), (31, 33), (32, 64), (499, 500)):
        assert np.array_equal(ids_within(5, 1, start, stop, 500, 32), whole[start:stop])


def test_it_does_not_import_torch() -> None:
    code = "import sys, naruto_add.data.view; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

from __future__ import annotations

import numpy

from serve.memory import PictureCache, Results
from serve.model import Wish


def wish(seed: int) -> Wish:
    return Wish("a", seed, 4, None)


def test_pictures_are_remembered_by_all_that_decides_them() -> None:
    cache, pixels = PictureCache(10_000), numpy.zeros((8, 8, 3), numpy.uint8)
    cache.put("weights", wish(1), pixels)
    assert cache.get("weights", wish(1)) is pixels
    assert cache.get("other weights", wish(1)) is None
    for other in (Wish("b", 1, 4, None), wish(2), Wish("a", 1, 3, None), Wish("a", 1, 4, 3.0)):
        assert cache.get("weights", other) is None


def test_what_was_used_least_recently_is_forgotten_first() -> None:
    cache, pixels = PictureCache(3 * 192), numpy.zeros((8, 8, 3), numpy.uint8)
    for seed in (1, 2, 3):
        cache.put("w", wish(seed), pixels)
    cache.get("w", wish(1))
    cache.put("w", wish(4), pixels)
    assert [cache.get("w", wish(seed)) is not None for seed in (1, 2, 3, 4)] == [True, False, True, True]
    PictureCache(0).put("w", wish(1), pixels)


def test_results_live_their_time() -> None:
    now = [0.0]
    results = Results(10, lambda: now[0])
    name = results.put(b"data", "image/png")
    assert results.get(name) is not None and results.get(name + "x") is None
    now[0] = 9.9
    assert results.get(name).data == b"data"
    now[0] = 10
    assert results.get(name) is None


def test_names_cannot_be_guessed() -> None:
    results = Results(10)
    assert len({results.put(b"", "image/png") for _ in range(100)}) == 100
    assert len(results.put(b"", "image/png")) >= 32

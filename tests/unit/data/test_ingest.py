from __future__ import annotations

import numpy as np

from naruto_add.config import DataConfig
from naruto_add.data import universe
from naruto_add.data.ingest import HELDOUT_INDEX, Builtin, Shape, open_source
from naruto_add.data.prepare import check


def test_the_universe_is_drawn_with_all_that_is_known_of_it() -> None:
    source = open_source(DataConfig(num_images=3, num_heldout=2), 7)
    items = source.listing().items
    assert [item.row for item in items] == [HELDOUT_INDEX, HELDOUT_INDEX + 1, 0, 1, 2]
    picture = source.load(items[3], Shape(64, 10**6))
    image, caption, language, scene = universe.draw("ninja", 7, 1, 64)
    assert np.array_equal(np.asarray(picture.image), np.asarray(image))
    assert (picture.caption, picture.language) == (caption, language)
    assert picture.attributes == {
        **universe.judged(scene),
        "mentioned": list(universe.mentioned(scene, language)),
    }


def test_held_out_scenes_are_those_of_the_held_out_addresses() -> None:
    source = Builtin("ninja", 0, 4, 2)
    items = source.listing().items
    assert source.heldout(items, [item.name for item in items], 2) == {0, 1}


def test_an_endless_universe_needs_a_number() -> None:
    (problem,) = check(DataConfig(num_images=None))
    assert "has no end" in problem

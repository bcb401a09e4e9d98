"""The benchmark of several workers: what it measures, what it refuses, and one way to train in this process."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from jobs.bench_scaling import CHILD, Found, Row, Words, main, noted, prepared, rows, table
from naruto_add import recipe as recipes
from naruto_add.errors import UserError


def test_every_stage_and_both_ways_to_grow_are_measured() -> None:
    planned = rows(Words(workers=4, batch=8))
    assert [row.zero_stage for row in planned[-4:]] == [0, 1, 2, 3]
    assert {(row.workers, row.batch) for row in planned} == {(1, 8), (4, 32), (4, 8)}
    assert [row.talking for row in planned[:3]] == [True, False, True]


def test_what_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    words = ["--workers", "99", "--batch", "7", "--steps", "0", "--out", str(tmp_path)]
    with pytest.raises(UserError) as caught:
        main(words)
    for problem in ("this machine has", "must be a multiple", "--steps is too small", "is a folder"):
        assert problem in str(caught.value)


def test_a_process_that_trains_alone_notes_its_pace(tiny_base: Path, tmp_path: Path) -> None:
    flags = {"teacher.base": str(tiny_base), "data.size_px": 32, "distill.head_start": None}
    recipe, asked = recipes.load("smoke", flags), Words(batch=2, workers=2)
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(asdict(recipe)))
    shards, alone = prepared(recipe, asked, tmp_path), Row("alone", 1, 2, talking=False)
    main([CHILD, json.dumps(asdict(alone)), str(file), "4", str(shards), str(tmp_path / "work")])
    rate, peak_mb = noted(tmp_path / "work")
    assert rate > 0 and peak_mb > 50
    assert len((tmp_path / "work" / "metrics.jsonl").read_text().splitlines()) == 4
    shown = table([Found(alone, rate, peak_mb), Found(alone, 2 * rate, peak_mb)])
    assert list(shown.columns[4].cells) == ["1.00", "2.00"] and list(shown.columns[5].cells) == ["0.50", "1.00"]

import json
from pathlib import Path

import pytest

from naruto_add.config import OptimConfig
from naruto_add.sweep.ledger import CONTINUES, FAILED, FINISHED, STOPPED, Entry, Ledger
from naruto_add.sweep.rungs import goes_on, rung_images

RUNGS = (8, 16)


def optim(images: int, batch_size: int) -> OptimConfig:
    return OptimConfig(images=images, batch_size=batch_size, learning_rate=1.0)


def judged(ledger: Ledger, trial: int, images: int, distance: float) -> str:
    return ledger.judge(trial, images, {"fd_real": distance}, 1.0)[0].verdict


@pytest.mark.parametrize(
    ("images", "batch_size", "first", "reduction", "expected"),
    [
        (2000, 8, None, 2, (504, 1000, 2000)),
        (2000, 8, 250, 3, (256, 752, 2000)),
        (16, 4, 8, 2, (8, 16)),
        (10, 4, 1, 2, (4, 8, 12)),
        (8, 4, 100, 2, (8,)),
    ],
)
def test_rungs_are_whole_steps_and_end_where_training_does(
    images: int, batch_size: int, first: int | None, reduction: int, expected: tuple[int, ...]
) -> None:
    assert rung_images(optim(images, batch_size), first, reduction) == expected


@pytest.mark.parametrize(
    ("distance", "before", "reduction", "expected"),
    [
        (9.0, [], 2, True),
        (9.0, [5.0], 2, False),
        (4.0, [5.0], 2, True),
        (6.0, [5.0, 9.0], 2, True),
        (9.5, [5.0, 9.0], 2, False),
        (6.0, [5.0, 9.0], 3, False),
        (4.0, [5.0, 9.0, 3.0, 8.0], 4, True),
    ],
)
def test_one_in_so_many_goes_on(distance: float, before: list[float], reduction: int, expected: bool) -> None:
    assert goes_on(distance, before, reduction) == expected


def test_the_recipe_s_own_settings_go_on_and_others_must_keep_up(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "sweep" / "ledger.jsonl", RUNGS, 2)
    assert judged(ledger, 1, 8, 50.0) == CONTINUES
    assert judged(ledger, 0, 8, 90.0) == CONTINUES
    assert judged(ledger, 2, 8, 60.0) == CONTINUES
    assert judged(ledger, 3, 8, 95.0) == STOPPED
    assert judged(ledger, 0, 16, 80.0) == FINISHED
    assert ledger.open(6) == [1, 2, 4, 5]


def test_a_trial_that_fails_is_a_result_and_counts_for_nobody(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", RUNGS, 2)
    entry, _ = ledger.judge(1, 8, {}, 0.0, "collapse at image 4")
    assert (entry.verdict, entry.distance, entry.reason) == (FAILED, None, "collapse at image 4")
    assert judged(ledger, 2, 8, float("nan")) == FAILED
    assert judged(ledger, 3, 8, 1e9) == CONTINUES


def test_what_is_written_down_is_not_decided_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    first = Ledger(path, RUNGS, 2)
    for trial, distance in ((0, 9.0), (1, 8.0), (2, 8.5)):
        judged(first, trial, 8, distance)
    again = Ledger(path, RUNGS, 2)
    assert again.entries == first.entries and again.open(3) == first.open(3)
    entry, new = again.judge(1, 8, {"fd_real": 1.0}, 5.0)
    assert not new and entry == first.entries[1]
    judged(again, 1, 16, 7.0)
    lines = [Entry(**json.loads(line)) for line in path.read_text().splitlines()]
    assert lines == [*first.entries, Entry(1, 16, 7.0, FINISHED, 1.0, {"fd_real": 7.0})]


def test_in_a_population_nobody_is_stopped_and_a_failure_has_no_distance(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", RUNGS, None)
    assert [judged(ledger, trial, 8, 10.0 + trial) for trial in range(4)] == [CONTINUES] * 4
    ledger.judge(4, 8, {}, 0.0, "collapse")
    judged(ledger, 5, 8, float("inf"))
    assert [ledger.distance(trial, 8) for trial in (3, 4, 5, 6)] == [13.0, None, None, None]
    assert judged(ledger, 1, 16, 9.0) == FINISHED and ledger.finished(1) and not ledger.finished(2)

"""Progress that one process writes and another shows."""

from __future__ import annotations

from pathlib import Path

from naruto_add.evaluation.progress import Metered, file_meter
from naruto_add.training.telemetry import Follower
from tests.unit.evaluation.test_generate import Meter


def test_what_a_worker_has_drawn_is_shown_by_the_driver(tmp_path: Path) -> None:
    shown = Meter()
    with Follower(tmp_path / "progress.jsonl", Metered(shown)), file_meter(tmp_path / "progress.jsonl") as meter, meter:
        for done in range(0, 60, 3):
            meter.update("student@4, heldout", done, 60)
        meter.update("scores", 60, 60)
    assert shown.told[-1] == ("scores", 60, 60)
    assert len(shown.told) < 5, "not a line for every batch"

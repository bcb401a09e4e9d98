"""The whole stage on tiny models: every row, nulls, N, resumption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from naruto_add.config import Recipe
from naruto_add.data.shards import Shards
from naruto_add.evaluation.evaluate import evaluate


@pytest.fixture(scope="module")
def finished(recipe: Recipe, shards: Shards, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evaluation."""
    run = tmp_path_factory.mktemp("run")
    (run / "report").mkdir()
    evaluate(recipe, models / "student", models / "teacher", models / "base", shards, run / "work", run / "report")
    return run


def test_all(finished: Path) -> None:
    report = json.loads((finished / "report" / "report.json").read_text())
    print(json.dumps(report, indent=1))

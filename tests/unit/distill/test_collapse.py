"""A provoked collapse of a real adversarial game is caught by the health gate and rolled back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from naruto_add.config import DistillConfig
from naruto_add.training.guards import TrainingStopped
from naruto_add.training.loop import train
from naruto_add.training.rollback import COLLAPSES
from naruto_add.training.telemetry import Reporter, file_sinks
from naruto_add.training.world import World
from tests.unit.distill.tools import OPTIM, STATE, Feed, batch_of, everything, make

PROVOKED = DistillConfig(
    optim=replace(OPTIM, images=52, checkpoint_images=16, preview_images=1000, weight_decay=0.0),
    distill_weight=0.0,
    r1_gamma=0.0,
    augment=False,
    heads_steps=2,
    heads_learning_rate=0.02,
)
"""Heads two hundred times as fast as the default, and nothing to hold them."""


def run(config: DistillConfig, folder: Path, gap: float = PROVOKED.collapse_gap) -> int:
    """The rollbacks of a whole run."""
    method = make(config)
    return train(method, Feed(), config.optim, folder, Reporter(file_sinks(folder)), 0, World(), (), gap).rollbacks


def gaps(folder: Path) -> list[float]:
    return [json.loads(line)["logit_gap"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_heads_that_win_are_caught_rolled_back_and_slowed(tmp_path: Path) -> None:
    assert run(PROVOKED, tmp_path / "ungated", gap=1e9) == 0
    assert run(PROVOKED, tmp_path / "gated") == 1
    (collapse,) = [json.loads(line) for line in (tmp_path / "gated" / COLLAPSES).read_text().splitlines()]
    back = collapse["back_to"] // 4
    assert 0 < back < collapse["images"] // 4 and collapse["running_gap"] > PROVOKED.collapse_gap
    before, after = gaps(tmp_path / "ungated"), gaps(tmp_path / "gated")
    assert len(before) == len(after) == 13  # it ends
    assert after[:back] == before[:back]  # up to there it is the same run
    assert max(after[back:]) < PROVOKED.collapse_gap < min(before[back:])  # afterwards a calmer one


def test_heads_beyond_help_stop_the_run_and_say_why(tmp_path: Path) -> None:
    optim = replace(PROVOKED.optim, checkpoint_images=4)
    with pytest.raises(TrainingStopped, match=r"mean logit gap of .* rollbacks have not helped.*heads_learning_rate"):
        run(replace(PROVOKED, optim=optim), tmp_path, gap=0.2)  # a limit that no game can keep


def test_the_defaults_pass_the_gate(tmp_path: Path) -> None:
    config = DistillConfig(optim=replace(OPTIM, images=24, checkpoint_images=8, preview_images=1000))
    assert run(config, tmp_path) == 0 and not (tmp_path / COLLAPSES).exists()


def test_after_a_rollback_all_heads_are_new_and_the_student_is_not() -> None:
    method = make(PROVOKED)
    method.step(batch_of([0, 1, 2, 3]), STATE)
    state = replace(STATE, images=4, rollbacks=1, rolled_back_to=4)
    method.step(batch_of([4, 5, 6, 7]), state)
    ages = {name: int(age) for name, age in everything(method).items() if name.endswith("/step")}
    assert {age for name, age in ages.items() if name.startswith("heads/")} == {PROVOKED.heads_steps}
    assert {age for name, age in ages.items() if name.startswith("student/")} == {2}

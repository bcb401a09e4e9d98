"""From a ledger to a table, a verdict, plots and a recipe file, without training."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from naruto_add.errors import UserError
from naruto_add.evaluation.probe import UNSEEN
from naruto_add.recipe import load
from naruto_add.sweep import results
from naruto_add.sweep.ledger import Ledger
from naruto_add.sweep.plots import draw_parallel, draw_pareto, front
from naruto_add.sweep.results import Confirmation
from naruto_add.sweep.space import Range, Space, recipe_of
from naruto_add.sweep.trials import Trial, measured

MINI = load("mini")
SPACE = Space(
    (
        Range("distill.distill_weight", "loguniform", (2.5, 10.0)),
        Range("distill.heads_steps", "choice", (1, 2)),
        Range("distill.teacher_guidance", "uniform", (1.0, 5.0)),
    )
)
RUNGS = (8, 16)


def trials(folder: Path, count: int = 4) -> list[Trial]:
    drawn = [{}, *SPACE.draw(count - 1, 0)]
    return [
        Trial(number, settings, recipe_of(MINI, settings), folder, folder, folder / f"trial-{number}", RUNGS)
        for number, settings in enumerate(drawn)
    ]


def finished(distance: float) -> dict[str, float]:
    at = {f"fd_real_at_{n}": distance + 10 * (4 - n) for n in (4, 2, 1)} | {
        f"seconds_at_{n}": 0.01 * n for n in (4, 2, 1)
    }
    return {"fd_real": distance, "kid_real": distance / 10, "scored": 64.0, **at}


def ledger_of(folder: Path) -> Ledger:
    """Trial 2 wins, 1 is stopped, 3 fails."""
    ledger = Ledger(folder / "ledger.jsonl", RUNGS, 2)
    for trial, distance in ((0, 100.0), (1, 120.0), (2, 90.0)):
        ledger.judge(trial, 8, {"fd_real": distance, "kid_real": 1.0, "scored": 64.0}, 5.0)
    ledger.judge(3, 8, {}, 0.0, "collapse at image 4")
    ledger.judge(0, 16, finished(80.0), 10.0)
    ledger.judge(2, 16, finished(70.0), 11.0)
    return ledger


def test_a_trial_survives_the_way_to_another_process(tmp_path: Path) -> None:
    trial = trials(tmp_path)[2]
    assert Trial.from_plain(json.loads(json.dumps(trial.to_plain()))) == trial


def test_rows_come_best_first_and_say_how_far_each_came(tmp_path: Path) -> None:
    rows = results.rows_of(trials(tmp_path), ledger_of(tmp_path), SPACE)
    assert [(row.trial, row.verdict, row.images) for row in rows] == [
        (2, "finished", 16), (0, "finished", 16), (1, "stopped", 8), (3, "failed", 8)
    ]  # fmt: skip
    assert rows[1].settings["distill.distill_weight"] == MINI.distill.distill_weight
    assert rows[0].rungs == {8: 90.0, 16: 70.0} and rows[0].few_steps[1] == (100.0, 0.01)
    assert rows[3].fd_real is None and rows[3].reason == "collapse at image 4"
    assert [row.trial for row in results.ranked(rows)] == [2, 0]
    with pytest.raises(UserError, match="trial 3: collapse at image 4"):
        results.ranked(rows[2:])


def test_table_and_plots_hold_every_trial(tmp_path: Path) -> None:
    rows = results.rows_of(trials(tmp_path), ledger_of(tmp_path), SPACE)
    results.write_results(tmp_path, rows, None, None, {"space": SPACE.to_json()})
    found = json.loads((tmp_path / results.SWEEP).read_text())
    assert [row["trial"] for row in found["trials"]] == [2, 0, 1, 3]
    with (tmp_path / results.TABLE).open() as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["fd_real_at_16_images"] == "70.0" and lines[2]["fd_real_at_16_images"] == ""
    assert lines[0]["fd_real_at_1_steps"] == "100.0" and lines[3]["reason"] == "collapse at image 4"
    draw_parallel(rows, SPACE, tmp_path / "parallel.png")
    draw_pareto(rows, tmp_path / "pareto.png")
    for name in ("parallel.png", "pareto.png"):
        assert len(np.unique(np.asarray(Image.open(tmp_path / name).convert("L")))) > 20


def test_plots_of_what_failed_altogether_are_left_out(tmp_path: Path) -> None:
    rows = results.rows_of(trials(tmp_path), ledger_of(tmp_path), SPACE)[3:]
    draw_parallel(rows, SPACE, tmp_path / "parallel.png")
    draw_pareto(rows, tmp_path / "pareto.png")
    assert not list(tmp_path.glob("*.png"))


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    assert front([(3.0, 1.0), (1.0, 5.0), (2.0, 5.0), (2.0, 2.0), (4.0, 1.5)]) == [(1.0, 5.0), (2.0, 2.0), (3.0, 1.0)]


def test_the_best_recipe_is_read_back_as_it_was(tmp_path: Path) -> None:
    best = replace(recipe_of(MINI, trials(tmp_path)[2].settings), name="mini-best")
    results.write_recipe(tmp_path / "best.yaml", best, ["Trial 2.", "FD 70.0, N = 64."])
    assert load(tmp_path / "best.yaml") == best
    assert (tmp_path / "best.yaml").read_text().startswith("# Trial 2.\n# FD 70.0, N = 64.\n")


@pytest.mark.parametrize(("shift", "words"), [(0.5, "It is better"), (1.5, "It is worse"), (1.0, "may be chance")])
def test_the_verdict_needs_pictures_that_chose_nothing(tmp_path: Path, shift: float, words: str) -> None:
    generator = torch.Generator().manual_seed(0)
    real, best, other = torch.randn(200, 4, generator=generator), trials(tmp_path)[2], trials(tmp_path)[0]
    for trial, away in ((best, shift), (other, 1.0)):
        trial.work.mkdir()
        save_file({"4": torch.randn(64, 4, generator=generator).double() + away}, trial.work / UNSEEN)
    verdict = results.compare(best, other, real, 100, 0)
    assert words in verdict.text and "trial 0 (the recipe's own settings)" in verdict.text
    assert verdict.n == 64 and verdict.interval[0] < verdict.difference < verdict.interval[1]


def test_metrics_say_what_was_measured_at_a_rung_and_nothing_else_does(tmp_path: Path) -> None:
    records = [
        {"images": 4, "seconds": 2.0, "loss": 1.0},
        {"images": 8, "seconds": 3.0, "loss": 1.0, "fd_real": 9.0, "kid_real": 1.0, "scored": 4.0},
        {"images": 12, "seconds": 2.0, "loss": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + '{"images": 16')
    found = measured(tmp_path, 8)
    assert found is not None and found.seconds == 5.0
    assert found.numbers == {"fd_real": 9.0, "kid_real": 1.0, "scored": 4.0}
    assert measured(tmp_path, 12) is measured(tmp_path, 16) is measured(tmp_path / "nowhere", 8) is None


def test_other_seeds_say_whether_the_settings_differ_or_two_students() -> None:
    better = Confirmation(3, 0, (1, 2, 3), (-9.0, -10.0, -11.0), (-12.0, -8.0))
    assert better.text.endswith("Mean -10.0 [-12.0, -8.0] over seeds. Its settings are better.")
    assert "trial 3 against trial 0 (the recipe's own settings): FD -9.0 (seed 1), -10.0 (seed 2)" in better.text
    assert "Its settings are worse." in replace(better, interval=(1.0, 2.0)).text
    assert "cannot be told apart" in replace(better, interval=(-1.0, 2.0)).text
    lone = Confirmation(3, 0, (2,), (-9.0,), None, ("Seed 1, trial 3 failed: collapse.",))
    assert lone.text.endswith("FD -9.0 (seed 2). Seed 1, trial 3 failed: collapse.")

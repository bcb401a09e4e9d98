"""The whole stage on tiny models: every row, N, nulls, the founding report's mistakes, resumption."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from naruto_add.config import Recipe
from naruto_add.data.shards import Shards
from naruto_add.errors import UserError
from naruto_add.evaluation.evaluate import REPORT, evaluate
from naruto_add.evaluation.examiner import Examiner, open_observer
from naruto_add.evaluation.eyes import Eyes
from naruto_add.evaluation.judge_training import JudgeConfig, train_judge
from naruto_add.evaluation.painters import FewStepPainter, GuidedPainter
from naruto_add.models.load import load_components
from naruto_add.training.world import World
from tests.unit.evaluation.conftest import HELDOUT, TRAIN, make_shards
from tests.unit.evaluation.test_generate import Killed, Meter

pytestmark = pytest.mark.slow

JUDGE = JudgeConfig(images=20, size_px=32, epochs=2, batch_size=10, chunk=20)


@pytest.fixture(scope="module")
def judge(eyes: Eyes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    train_judge(folder / "out", folder, eyes.lite, config=JUDGE)
    return folder / "out"


def run(recipe: Recipe, models: Path, shards: Shards, folder: Path, judge: Path, meter: Meter) -> dict[str, Any]:
    """Evaluate in `folder` and read the report."""
    (folder / "report").mkdir(parents=True, exist_ok=True)
    student, teacher, base = (models / name for name in ("student", "teacher", "base"))
    work = folder / ".work" / "evaluate-1"
    evaluate(recipe, student, teacher, base, shards, work, folder / "report", meter, judge)
    return json.loads((folder / "report" / REPORT).read_text(), parse_constant=no_nan)


def no_nan(name: str) -> None:
    raise AssertionError(f"{name} in {REPORT}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def report(recipe: Recipe, models: Path, shards: Shards, folder: Path, judge: Path) -> dict[str, Any]:
    return run(recipe, models, shards, folder, judge, Meter())


def test_every_step_count_and_every_floor_has_a_row(report: dict[str, Any]) -> None:
    assert set(report["scores"]) == {
        "student@4", "student@2", "student@1", "teacher@4", "teacher@2", "teacher@1", "base@4", "teacher@5",
        "floor/real", "floor/autoencoder", "floor/teacher", "legacy/student@4", "legacy/floor",
    }  # fmt: skip


def as_rank(rank: int, folder: Path, *arguments: Any) -> None:
    """In a process: evaluate as one of two workers, each with an `out` of its own."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    meter, out = Meter(), folder / f"out-{rank}"
    out.mkdir()
    recipe, student, teacher, base, shards, judge = arguments
    evaluate(recipe, student, teacher, base, Shards(shards), folder / "work", out, meter, judge, World.current())
    (folder / f"passes-{rank}").write_text(str(meter.told[-1][2]))


def test_two_workers_share_the_drawing_and_one_reports_the_same(
    report: dict[str, Any], recipe: Recipe, models: Path, shards: Shards, judge: Path, tmp_path: Path
) -> None:
    arguments = (recipe, *(models / name for name in ("student", "teacher", "base")), shards.path, judge)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=as_rank, args=(rank, tmp_path, *arguments), daemon=True) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(200)
    assert [worker.exitcode for worker in workers] == [0, 0]
    passes = [int((tmp_path / f"passes-{rank}").read_text()) for rank in range(2)]
    assert min(passes) > 0.3 * sum(passes) and not list((tmp_path / "out-1").iterdir())
    found = json.loads((tmp_path / "out-0" / REPORT).read_text())
    assert found["models"] == report["models"]
    assert untimed(found) == untimed(report)


def untimed(report: dict[str, Any]) -> dict[str, Any]:
    """The scores without what a clock has measured."""
    return {row: {k: v for k, v in found.items() if "latency" not in k} for row, found in report["scores"].items()}


def test_n_stands_with_every_score(report: dict[str, Any]) -> None:
    counts = {name: row["n"] for name, row in report["scores"].items()}
    assert counts["student@4"] == counts["teacher@4"] == counts["floor/real"] == counts["floor/teacher"] == 4
    assert counts["floor/autoencoder"] == HELDOUT, "there are only three held-out images"
    assert counts["legacy/student@4"] == counts["legacy/floor"] == 4
    assert (report["settings"]["n_reference"], report["settings"]["n_train"]) == (HELDOUT, TRAIN)


def test_figures_that_do_not_apply_are_null(report: dict[str, Any]) -> None:
    scores = report["scores"]
    nothing = {name: {key for key, value in row.items() if value is None} for name, row in scores.items()}
    intervals = {"fd_teacher_interval", "lpips_teacher_interval"}
    assert nothing["student@4"] == set()
    assert nothing["base@4"] == set()
    assert nothing["teacher@4"] == {"fd_teacher", "lpips_teacher"} | intervals
    assert {"lpips_teacher", "diversity", "latency_s"} <= nothing["floor/real"]
    assert {"fd_real", "kid_real", "diversity", "prompt_accuracy"} <= nothing["legacy/floor"]
    timed = {"latency_s", "latency_split", "passes"}
    assert {key for key, value in scores["teacher@5"].items() if value is not None} == timed
    assert 0 not in [value for row in scores.values() for key, value in row.items() if key != "prompt_accuracy"]


def test_every_row_of_a_model_is_timed_in_three_phases(report: dict[str, Any]) -> None:
    for name in ("student@1", "teacher@4", "base@4", "teacher@5"):
        row = report["scores"][name]
        assert row["latency_s"] == pytest.approx(sum(row["latency_split"].values()))
    assert report["scores"]["teacher@5"]["passes"] == 10
    assert report["hardware"]["threads"] == torch.get_num_threads()


def test_names_and_hashes_of_all_networks_are_recorded(report: dict[str, Any]) -> None:
    for part in ("distribution", "perceptual", "judge"):
        assert len(report["extractors"][part]["sha256"]) == 64
    digests = [model["digest"] for model in report["models"].values()]
    assert len(set(digests)) == 3, "student, teacher and base are three models"


def test_many_students_are_told_apart_by_the_scores_of_the_report(
    report: dict[str, Any], recipe: Recipe, models: Path, shards: Shards, folder: Path, judge: Path
) -> None:
    """`Examiner` finds the same pictures, and so the same figures."""
    examiner = Examiner(recipe, shards, open_observer(recipe, judge), folder / ".work" / "evaluate-1")
    student = FewStepPainter(
        "student", load_components(models / "student"), examiner.easel, recipe.distill.student_timesteps
    )
    teacher = GuidedPainter("teacher", load_components(models / "teacher"), examiner.easel, 3.0)
    meter = Meter()
    scores = examiner.models([(student, 4), (student, 1), (teacher, 4)], meter) | examiner.floors(teacher)
    assert meter.told == [("scores", 0, 0)], "nothing had to be drawn"
    assert list(scores) == ["student@4", "student@1", "teacher@4", "floor/real", "floor/autoencoder"]
    for name, score in scores.items():
        found = json.loads(json.dumps(score.to_json()))
        for figure in ("n", "fd_real", "fd_real_interval", "kid_real", "diversity", "prompt_accuracy"):
            assert found[figure] == pytest.approx(report["scores"][name][figure]), (name, figure)


def test_a_killed_evaluation_goes_on_and_the_same_seed_gives_the_same_scores(
    report: dict[str, Any], recipe: Recipe, models: Path, shards: Shards, judge: Path, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(recipe, models, shards, tmp_path, judge, Meter(passes=60))
    assert not (tmp_path / "report" / REPORT).exists()
    resumed = run(recipe, models, shards, tmp_path, judge, Meter())["scores"]
    for name, row in report["scores"].items():
        assert unclocked(row) == unclocked(resumed[name])


def unclocked(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what the clock says."""
    return {key: value for key, value in row.items() if not key.startswith("latency")}


def test_pictures_that_are_there_are_not_drawn_again_and_without_a_judge_prompt_accuracy_is_null(
    report: dict[str, Any], recipe: Recipe, models: Path, shards: Shards, folder: Path, tmp_path: Path
) -> None:
    meter = Meter()
    again = run(recipe, models, shards, folder, tmp_path / "nowhere", meter)
    assert meter.told == [("scores", 0, 0)]
    assert {row["prompt_accuracy"] for row in again["scores"].values()} == {None}
    assert again["extractors"]["judge"] is None


def test_without_known_attributes_prompt_accuracy_is_null(
    recipe: Recipe, models: Path, judge: Path, tmp_path: Path
) -> None:
    shards = make_shards(tmp_path / "shards", known=False)
    report = run(recipe, models, shards, tmp_path, judge, Meter())
    assert {row["prompt_accuracy"] for row in report["scores"].values()} == {None}
    page = (tmp_path / "report" / "index.html").read_text()
    assert "of what captions ask for" not in page


def test_too_few_images_are_the_users_to_mend(recipe: Recipe, models: Path, tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", heldout=1)
    with pytest.raises(UserError, match="1 heldout images, and an evaluation needs 2"):
        run(recipe, models, shards, tmp_path, tmp_path, Meter())

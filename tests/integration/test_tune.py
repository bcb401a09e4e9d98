"""A sweep on a real Ray whose driver is killed, and the distillation that uses what came of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from naruto_add import artifact
from naruto_add.recipe import load
from tests.conftest import REPOSITORY, Done, naruto_add
from tests.folders import tiny_base, tiny_shards

pytestmark = [pytest.mark.slow, pytest.mark.ray]

SPACE = "distill.distill_weight: {loguniform: [1, 60]}\ndistill.optim.learning_rate: {loguniform: [1e-5, 1e-2]}\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has its shards and its teacher."""
    folder = tmp_path / "run"
    artifact.build(folder / "shards", kind="shards", config={}, parents={}, make=fill_shards)
    artifact.build(folder / "teacher", kind="teacher", config={}, parents={}, make=tiny_base)
    return folder


def fill_shards(folder: Path) -> None:
    folder.rmdir()
    tiny_shards(folder)


def ledger(run: Path) -> list[str]:
    (file,) = run.glob(".work/sweep-*/ledger.jsonl")
    return file.read_text().splitlines()


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.long)], ids=["whole", "killed"])
def test_a_sweep_ends_with_a_recipe_even_if_its_driver_was_killed(
    killed: bool, run: Path, tmp_path: Path, here: Callable[[Sequence[str | Path]], Done]
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    words = ["tune", "--recipe", "smoke", "--run", str(run), "--space", str(tmp_path / "space.yaml"), "--trials", "2"]
    words += ["--compute.launcher", "inline", "--compute.workers", "1", "--compute.zero-stage", "None"]
    words += ["--distill.head-start", "None", "--distill.measure-pictures", "4", "--distill.optim.images", "8"]
    words += ["--distill.survey-pictures", "6"]
    words += ["--rung-images", "4", "--parallel", "1"]
    before = kill_after_the_first_result(run, words) if killed else []
    done = naruto_add(words)
    assert done.returncode == 0, done.stderr
    entries = [json.loads(line) for line in ledger(run)]
    assert ledger(run)[: len(before)] == before
    assert [(e["trial"], e["images"]) for e in entries[:2]] == [(0, 4), (0, 8)]
    ends = {e["trial"]: e["verdict"] for e in entries}
    assert ends[0] == "finished" and set(ends) == {0, 1} and set(ends.values()) <= {"finished", "stopped"}

    found = json.loads((run / "sweep" / "sweep.json").read_text())
    assert sorted(row["trial"] for row in found["trials"]) == [0, 1]
    assert all(row["n"] == 4 for row in found["trials"])
    assert found["verdict"] is None or found["verdict"]["n"] == 6
    assert (run / "sweep" / "parallel.png").stat().st_size > 5000 and (run / "sweep" / "pareto.png").exists()
    best = found["trials"][0]
    recipe = load(run / "sweep" / "best.yaml")
    assert recipe.distill.distill_weight == best["settings"]["distill.distill_weight"]

    again = here(["distill", "--recipe", run / "sweep" / "best.yaml", "--run", run])
    assert again.returncode == 0, again.stderr
    assert "grad_norm" not in again.stdout  # not a step: the winner's checkpoint was there
    assert artifact.open_artifact(run / "student", "student").manifest.config["distill"]["heads_steps"] == 1


def kill_after_the_first_result(run: Path, words: list[str]) -> list[str]:
    """Start the sweep and end its driver as the kernel would; what the ledger has by then."""
    command = [sys.executable, "-m", "naruto_add", *words]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            if line.startswith("{") and json.loads(line).get("event") == "trial":
                driver.send_signal(signal.SIGKILL)
                break
    assert ledger(run), "the sweep has said nothing of a trial"
    return ledger(run)

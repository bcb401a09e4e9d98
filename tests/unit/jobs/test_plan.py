import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from naruto_add.cli import main
from tests.conftest import Done

Call = Callable[[Sequence[str | Path]], Done]


def words(base: Path) -> list[str]:
    return ["plan", "--recipe", "smoke", "--teacher.base", str(base), "--data.size-px", "32", "--distill.method", "lcm"]


def test_json_holds_every_stage_and_gpus_go_over_the_recipe(tiny_base: Path, tmp_path: Path, here: Call) -> None:
    done = here([*words(tiny_base), "--run", tmp_path / "run", "--gpus", "4", "--gpu-memory-gib", "8", "--json"])
    plan = json.loads(done.stdout)
    assert plan["gpus"] == plan["workers"] == 4
    for stage in plan["stages"].values():
        assert set(stage["memory"]) == set(stage["largest_micro_batch"]) == {"0", "1", "2", "3"}
        assert stage["pace"]["seconds_per_1000_images"] > 0
    assert not (tmp_path / "run").exists()


def test_the_tables_name_parts_assumptions_and_what_is_measured(tiny_base: Path, here: Call) -> None:
    done = here([*words(tiny_base), "--images-per-s", "10", "--price-per-gpu-hour", "2"])
    assert done.returncode == 0, done.stderr
    for text in ("weights", "optimizer", "activations", "ZeRO 3", "finetune checkpoints", "Assumptions", "100.0"):
        assert text in done.stdout
    assert "Activations are an estimate" in done.stdout


def test_all_mistakes_come_together(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["--gpus", "3", "--images-per-s", "-1", "--distill.siz", "tiny", "--teacher.base", "/nowhere"]
    assert main(["plan", "--recipe", "smoke", *wrong]) == 2
    err = capsys.readouterr().err
    for complaint in ("multiple of compute.workers", "--images-per-s must be", "no such setting", "base /nowhere"):
        assert complaint in err


def test_data_of_another_machine_is_a_warning(tiny_base: Path, here: Call) -> None:
    done = here([*words(tiny_base), "--data.source", "/elsewhere", "--json"])
    assert done.returncode == 0 and "/elsewhere is not on this machine" in done.stderr

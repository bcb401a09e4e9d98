from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest import CaptureFixture

from jobs import arguments
from jobs.arguments import SECTIONS, read_flags
from jobs.entry import VERBS
from naruto_add import recipe
from naruto_add.cli import main
from tests.conftest import REPOSITORY, naruto_add

HEAVY = {"torch", "numpy", "ray", "diffusers", "transformers", "deepspeed", "PIL", "timm"}


def test_help_lists_every_verb(capsys: CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)
    assert main([]) == 2


@pytest.mark.alone
@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_quick_and_loads_nothing_heavy(verb: str) -> None:
    code = f"""
import sys
from naruto_add.cli import main
try:
    main([{verb!r}, "--help"])
except SystemExit as done:
    assert done.code == 0
print(sorted({HEAVY!r} & set(sys.modules)))
"""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    seconds = time.perf_counter() - started
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert seconds < 2, "a loaded test machine gets twice the promised second"


@pytest.mark.parametrize("verb", SECTIONS)
def test_every_setting_in_the_help_is_accepted_and_no_other(verb: str, capsys: CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--recipe", "smoke", "--help"])
    shown = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][\w.-]+)", capsys.readouterr().out)}
    usable = {s for s in recipe.settings() if s.partition(".")[0] in SECTIONS[verb]}
    assert usable <= shown
    assert not {s for s in shown & set(recipe.settings()) if s not in usable}


def test_flags_are_read_with_several_values_and_equals_signs() -> None:
    words = ["--prompts", "a b", "c", "--distill.optim.learning-rate=4e-5", "--data.num-images", "-4"]
    assert read_flags(words) == {
        "prompts": ["a b", "c"],
        "distill.optim.learning_rate": ["4e-5"],
        "data.num_images": ["-4"],
    }


def test_mistakes_of_all_kinds_come_together_and_exit_with_2(capsys: CaptureFixture[str], tmp_path: Path) -> None:
    words = ["distill", "--recipe", "smoke", "--run", str(tmp_path / "run")]
    wrong = ["--distill.siz", "tiny", "--seed", "-1", "--distill.optim.batch-size", "7", "--export.steps", "3"]

    assert main([*words, *wrong]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "4 problems" in captured.err and "Traceback" not in captured.err
    assert "export.steps: should be 1, 2 or 4, not 3" in captured.err
    assert "did you mean distill.size?" in captured.err
    assert "seed: should be greater than or equal to 0" in captured.err
    assert "must be a multiple of compute.workers" in captured.err
    assert not (tmp_path / "run").exists()


def test_a_setting_of_another_stage_is_answered_with_a_warning(capsys: CaptureFixture[str], tmp_path: Path) -> None:
    main(["finetune", "--recipe", "smoke", "--run", str(tmp_path), "--distill.size", "tiny"])
    assert "warning: --distill.size has no effect on finetune" in capsys.readouterr().err


def test_unknown_verbs_and_missing_arguments_exit_with_2(capsys: CaptureFixture[str]) -> None:
    assert main(["destill"]) == 2
    assert "did you mean distill?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--recipe", "smoke"])
    assert stopped.value.code == 2
    assert "--run" in capsys.readouterr().err


def test_a_stage_without_the_one_before_says_which_is_missing(capsys: CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["export", "--recipe", "smoke", "--run", str(tmp_path)]) == 2
    assert "no student there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "flags", "complaints"),
    [
        (
            "prepare",
            ["--teacher.base", "/no", "--data.source", "/nothing"],
            ["teacher.base /no", "data.source /nothing"],
        ),
        ("finetune", ["--teacher.base", "/no", "--compute.cpus-per-worker", "99"], ["teacher.base /no", "for ever"]),
        ("distill", ["--distill.head-start", "/no", "--compute.cpus-per-worker", "99"], ["head_start /no", "for ever"]),
    ],
)
def test_single_stages_check_what_they_need(
    verb: str, flags: list[str], complaints: list[str], capsys: CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([verb, "--recipe", "smoke", "--run", str(tmp_path / "run"), *flags]) == 2
    err = capsys.readouterr().err
    assert "2 problems" in err and all(complaint in err for complaint in complaints)
    assert not (tmp_path / "run").exists()


def test_run_checks_everything_before_anything_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
from naruto_add.cli import main
wrong = ["--teacher.base", "/nowhere", "--data.source", "/nothing", "--distill.head-start", "/none"]
print(main(["run", "--recipe", "smoke", "--run", {str(tmp_path / "run")!r}, *wrong]))
print("torch" in sys.modules, "ray" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.stdout.split() == ["2", "False", "False"], done.stderr
    for complaint in ("teacher.base /nowhere: not a folder", "data.source /nothing", "distill.head_start /none"):
        assert complaint in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_fault_of_ours_exits_with_1_and_a_traceback(tmp_path: Path) -> None:
    code = """
import sys
import jobs.export
from naruto_add.cli import main
jobs.export.parse = lambda verb, words: 1 / 0
sys.exit(main(["export"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["  "], "prompt is empty"),
        (["a ninja", "--out", "ninja.gif"], "write it as one of"),
        (["a ninja", "--out", "nowhere/ninja.png"], "there is no folder nowhere"),
        (["a ninja", "--bundle", "nowhere"], "no bundle there"),
    ],
)
def test_generate_refuses_what_it_cannot_draw(
    words: list[str], complaint: str, capsys: CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_ray_job_entry_points_are_the_verbs() -> None:
    for verb, entry in VERBS.items():
        done = subprocess.run(
            [sys.executable, "-m", entry.module, "--help"], capture_output=True, text=True, cwd=REPOSITORY, check=False
        )
        assert done.returncode == 0 and f"naruto-add {verb}" in done.stdout


def test_version() -> None:
    assert naruto_add(["--version"]).stdout.startswith("naruto-add ")


def test_sections_cover_the_schema() -> None:
    used = {section for sections in arguments.SECTIONS.values() for section in sections}
    assert used == {s.partition(".")[0] for s in recipe.settings()} - {"name"}

"""The whole pipeline as a user runs it, on the tiny base: results, skipping, resuming, and what invalidates what."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from naruto_add import artifact
from naruto_add.models.load import load_components
from tests.conftest import REPOSITORY, Done

pytestmark = pytest.mark.slow

Here = Callable[[Sequence[str | Path]], Done]
KINDS = ("shards", "teacher", "student", "report", "bundle")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def events(stdout: str) -> list[dict[str, Any]]:
    """The lines of a piped run; each must be JSON."""
    return [json.loads(line) for line in stdout.splitlines()]


def statuses(stdout: str) -> dict[str, str]:
    """The last status of each stage."""
    return {e["stage"]: e["status"] for e in events(stdout) if e.get("event") == "stage"}


def copied(run: Path, place: Path) -> Path:
    """A copy of a run that a test may change."""
    return Path(shutil.copytree(run, place / "run"))


def test_every_artifact_is_there_and_traces_to_its_parents(tiny_run: Path) -> None:
    found = {kind: artifact.open_artifact(tiny_run / kind, kind) for kind in KINDS}
    for one in found.values():
        artifact.verify(one)
        for name, digest in one.manifest.parents.items():
            assert found[name].digest == digest
    assert set(found["bundle"].manifest.parents) == {"student", "report"}
    assert (tiny_run / "report" / "index.html").stat().st_size > 10_000


def test_the_student_is_separate_and_smaller_and_nobody_was_left_as_he_was(tiny_run: Path, tiny_base: Path) -> None:
    base, teacher, student = (
        load_components(path).unet for path in (tiny_base, tiny_run / "teacher", tiny_run / "student")
    )
    count = {
        name: sum(p.numel() for p in unet.parameters()) for name, unet in (("teacher", teacher), ("student", student))
    }
    assert count["student"] < 0.8 * count["teacher"]
    assert any((a - b).abs().max() > 0 for a, b in zip(base.parameters(), teacher.parameters(), strict=True))


def test_the_report_has_all_rows_and_null_for_what_does_not_apply(tiny_run: Path) -> None:
    report = json.loads((tiny_run / "report" / "report.json").read_text(), parse_constant=pytest.fail)
    rows = {"student@4", "student@2", "student@1", "teacher@8", "teacher@4", "teacher@2", "teacher@1", "base@8"}
    floors = {"floor/real", "floor/autoencoder", "floor/teacher"}
    fields = {"fd_real", "kid_real", "fd_teacher", "lpips_teacher", "diversity", "prompt_accuracy", "latency_s", "n"}
    assert rows | floors <= set(report["scores"])
    assert all(fields <= set(report["scores"][row]) for row in rows | floors)
    assert report["scores"]["floor/real"]["latency_s"] is None
    assert all(entry is None or len(entry["sha256"]) == 64 for entry in report["extractors"].values())


def test_every_training_leaves_a_profile(tiny_run: Path) -> None:
    profiles = [json.loads(path.read_text()) for path in sorted(tiny_run.glob(".work/*/profile.json"))]
    parts = [set(profile["seconds"]) for profile in profiles]
    always = {"loading models", "encoding images", "building players", "data", "optimizer", "rest", "saving"}
    assert always | {"student", "teacher", "decode", "features", "heads"} <= parts[0]
    assert always | {"teacher"} <= parts[1] and "heads" not in parts[1]
    assert all(min(profile["seconds"].values()) >= 0 for profile in profiles)


def test_a_second_run_skips_everything_without_torch(tiny_run: Path, tiny_words: list[str]) -> None:
    code = f"""
import sys
from naruto_add.cli import main
code = main(["run", *{tiny_words!r}, "--run", {str(tiny_run)!r}])
sys.stderr.write("torch" if "torch" in sys.modules else "light")
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert set(statuses(done.stdout).values()) == {"current"}
    assert events(done.stdout)[-1]["event"] == "scores"
    assert done.stderr.endswith("light")
    assert "Scores" in done.stderr and "student@4" in done.stderr and "naruto-add generate" in done.stderr


def test_pace_and_place_do_not_invalidate_but_settings_do(
    tiny_run: Path, tiny_words: list[str], tmp_path: Path, here: Here
) -> None:
    run = copied(tiny_run, tmp_path)
    pace = [
        *("--teacher.optim.checkpoint-images", "8", "--distill.optim.preview-images", "8"),
        *("--evaluate.batch-size", "2"),
    ]
    assert set(statuses(here(["run", *tiny_words, *pace, "--run", run]).stdout).values()) == {"current"}

    done = here(["run", *tiny_words, "--export.title", "Another", "--run", run])
    assert statuses(done.stdout) == {
        **dict.fromkeys(("prepare", "finetune", "distill", "evaluate"), "current"), "export": "done",
    }  # fmt: skip
    assert "# Another" in (run / "bundle" / "README.md").read_text()
    assert list((run / ".old").glob("bundle-*")), "the bundle before is kept"


def test_interrupted_it_says_so_and_goes_on_to_the_same_weights(
    tiny_run: Path, tiny_words: list[str], tmp_path: Path, here: Here
) -> None:
    """Killed without a word it goes on as well: test_storage.py."""
    run = tmp_path / "run"
    words = [*tiny_words, "--run", str(run)]
    command = [sys.executable, "-m", "naruto_add", "run", *words]

    minding = ["env", "--default-signal=INT", *command]  # a shell may have told these tests to ignore it
    process = subprocess.Popen(minding, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(process, '"stage": "finetune", "images": 8')
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from here" in stderr
    assert not (run / "teacher").exists()

    last = here(["finetune", *words])
    assert last.returncode == 0, last.stderr
    steps = [event["images"] for event in events(last.stdout) if "images" in event]
    assert steps[0] > 4, "it went on from where it was stopped"
    for kind in ("shards", "teacher"):
        assert artifact.read_manifest(run / kind).digest == artifact.read_manifest(tiny_run / kind).digest


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read a process's output until a line holds the text."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"the process ended before it said {text}")


def test_two_processes_cannot_work_in_one_run(tiny_run: Path, tmp_path: Path, here: Here) -> None:
    import fcntl

    run = copied(tiny_run, tmp_path)
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = here(["export", "--recipe", "smoke", "--run", run])
    assert done.returncode == 2 and "another naruto-add is at work there" in done.stderr


def test_stages_one_by_one_use_what_the_run_was_made_of(
    tiny_run: Path, tiny_words: list[str], tmp_path: Path, here: Here
) -> None:
    run = copied(tiny_run, tmp_path)
    shutil.rmtree(run / "report")
    start = tiny_words.index("--compute.launcher")  # without the base: the run knows its own
    done = here(["evaluate", "--recipe", "smoke", "--run", run, *tiny_words[start:]])
    assert done.returncode == 0, done.stderr
    assert artifact.read_manifest(run / "report").key == artifact.read_manifest(tiny_run / "report").key


def test_prepare_shows_a_contact_sheet_and_new_files_in_the_source_make_new_shards(
    tiny_words: list[str], tmp_path: Path, here: Here
) -> None:
    from PIL import Image

    source, run = tmp_path / "images", tmp_path / "run"
    source.mkdir()
    for number in range(8):
        noise = Image.frombytes("RGB", (40, 40), os.urandom(40 * 40 * 3))
        noise.save(source / f"{number}.png")
        (source / f"{number}.txt").write_text(f"pattern number {number}")
    words = ["prepare", *tiny_words, "--run", run, "--data.source", source, "--data.num-heldout", "2"]

    first = here([*words, "--show"])
    assert first.returncode == 0, first.stderr
    with Image.open(run / "shards.png") as sheet:
        assert sheet.width > 100

    Image.frombytes("RGB", (40, 40), os.urandom(40 * 40 * 3)).save(source / "8.png")
    (source / "8.txt").write_text("pattern number 8")
    assert statuses(here(words).stdout) == {"prepare": "done"}
    index = json.loads((run / "shards" / "index.json").read_text())
    assert sum(index["samples"].values()) == 9

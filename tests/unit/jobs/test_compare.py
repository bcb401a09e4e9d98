"""Models beside each other, with one reference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs import compare
from naruto_add.errors import UserError

FEW = ["--recipe", "smoke", "--num-images", "4", "--student-steps", "4", "1", "--teacher-steps", "2"]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """Only what is read of a run."""
    shutil.copytree(tiny_run / "shards", tmp_path / "run" / "shards")
    return tmp_path / "run"


def test_a_bundle_scores_as_its_student_and_nothing_is_drawn_twice(tiny_run: Path, run: Path, tmp_path: Path) -> None:
    out, models = tmp_path / "compare.json", [str(tiny_run / "student"), str(tiny_run / "bundle")]
    words = ["--run", str(run), *FEW, "--out", str(out), "--students", *models]
    compare.main([*words, "--teachers", str(tiny_run / "teacher")])
    found = json.loads(out.read_text())
    scores = found["scores"]
    assert set(scores) == {
        "floor/real", "floor/autoencoder", "student@4", "student@1", "bundle@4", "bundle@1", "teacher@2",
    }  # fmt: skip
    for steps in (4, 1):
        ours, bundled = scores[f"student@{steps}"], scores[f"bundle@{steps}"]
        assert ours["n"] == 4 and ours["fd_real"] > 0 and ours["diversity"] > 0 and ours["prompt_accuracy"] is not None
        assert ours["fd_real"] == pytest.approx(bundled["fd_real"], rel=1e-3)
    assert scores["student@4"]["fd_real"] != scores["student@1"]["fd_real"]
    assert found["settings"]["num_images"] == 4 and found["settings"]["seed"] == 0

    drawn = {path: path.stat().st_mtime_ns for path in (run / ".work" / "compare" / "images").rglob("*.safetensors")}
    compare.main(words)
    assert json.loads(out.read_text())["scores"] == {row: scores[row] for row in scores if row != "teacher@2"}
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn and len(drawn) > 3

    copy = shutil.copytree(tiny_run / "student", tmp_path / "copy" / "student")
    compare.main([*words, str(copy)])
    assert set(json.loads(out.read_text())["scores"]) >= {"tiny-student@4", "copy-student@4", "tiny-bundle@1"}
    found = {path: path.stat().st_mtime_ns for path in (run / ".work" / "compare" / "images").rglob("*.safetensors")}
    assert found == drawn, "other names, the same pictures"


def test_all_mistakes_are_told_before_anything_is_drawn(tiny_run: Path, run: Path, tmp_path: Path) -> None:
    here = str(tiny_run / "student")
    with pytest.raises(UserError, match=r"(?s)unet/config.json is missing.*") as told:
        compare.main(["--run", str(run), *FEW, "--students", here, str(tmp_path / "no"), "--teachers", here])
    assert "named as a student and as a teacher" in str(told.value)
    with pytest.raises(UserError, match=r"(?s)Nothing to compare.*--teacher-steps 0: it takes"):
        compare.main(["--run", str(run), "--teacher-steps", "0"])
    with pytest.raises(UserError, match=r"(?s)2 problems.*--student-steps 5: .* knows 1 to 4.*is a teacher"):
        steps = ["--student-steps", "5"]
        compare.main(["--run", str(run), *FEW, *steps, "--students", here, str(tiny_run / "teacher")])
    assert not (run / ".work" / "compare" / "images").exists()


def test_names_are_as_long_as_it_takes() -> None:
    paths = [Path(name) for name in ("/a/x/student", "/a/y/student", "/b/x/student")]
    assert list(compare.told_apart(paths).values()) == ["a-x-student", "a-y-student", "b-x-student"]
    assert list(compare.told_apart([paths[0], Path("/a/x/teacher")]).values()) == ["student", "teacher"]

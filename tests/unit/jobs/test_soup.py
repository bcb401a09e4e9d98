"""The mean of several students."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from jobs import soup
from naruto_add import artifact
from naruto_add.artifact import open_artifact, verify
from naruto_add.errors import UserError
from naruto_add.models.load import load_components, save_components


def changed(source: Path, path: Path, teacher: Path) -> Path:
    """A student like the one at `source`, all its weights one larger."""
    components = load_components(source)
    with torch.no_grad():
        for parameter in components.unet.parameters():
            parameter += 1
    config = {**open_artifact(source, "student").manifest.config, "note": "changed"}
    parents = {"teacher": open_artifact(teacher, "teacher")}
    make = lambda folder: save_components(components, folder)  # noqa: E731
    return artifact.build(path, kind="student", config=config, parents=parents, make=make).path


def test_the_mean_becomes_the_runs_student(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    other = changed(tiny_run / "student", tmp_path / "other", tiny_run / "teacher")
    words = ["--run", str(run), "--students", str(tiny_run / "student"), str(other), "--shares", "0.25", "0.75"]
    soup.main(words)
    made = open_artifact(run / "student", "student")
    verify(made)
    assert sorted(made.manifest.config["soup"].values()) == [0.25, 0.75]
    before, mean = (load_components(place / "student").unet.state_dict() for place in (tiny_run, run))
    for name, tensor in before.items():
        torch.testing.assert_close(mean[name], tensor + 0.75)
    assert len(list((run / ".old").glob("student-*"))) == 1, "the run's own student was moved, not lost"


def test_what_cannot_be_averaged_is_told_at_once(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    shutil.rmtree(run / "teacher")
    student = tiny_run / "student"
    stranger = open_artifact(tiny_run / "teacher", "teacher").manifest
    weights = load_components(tiny_run / "teacher")
    make = lambda folder: save_components(weights, folder)  # noqa: E731
    shards = {"shards": open_artifact(tiny_run / "shards", "shards")}
    artifact.build(run / "teacher", kind="teacher", config={**stranger.config, "x": 1}, parents=shards, make=make)
    with pytest.raises(UserError, match=r"(?s)3 problems.*--shares 1.*sum is 0\.5.*another teacher"):
        soup.main(["--run", str(run), "--students", str(student), "--shares", "0.5"])

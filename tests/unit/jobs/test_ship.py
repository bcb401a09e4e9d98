"""Making a run's models the package's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from jobs import ship
from naruto_add.artifact import open_artifact, read_manifest, verify
from naruto_add.errors import UserError
from naruto_add.models.load import load_components
from tests.conftest import Done


@pytest.fixture(scope="module")
def halved_run(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("halved") / "run"))


def test_teacher_student_report_and_curves_take_their_places(
    halved_run: Path, tiny_words: list[str], tmp_path: Path, here: Callable[[Sequence[str | Path]], Done]
) -> None:
    assert here(["export", *tiny_words, "--run", halved_run, "--export.half", "True"]).returncode == 0
    for _ in range(2):  # the second call replaces the first one's
        ship.main(["--run", str(halved_run), "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"teacher", "student", "report.json", "gallery"}
    for kind, name in (("teacher", "teacher"), ("bundle", "student")):
        verify(open_artifact(tmp_path / name, kind))
    unet = "unet/diffusion_pytorch_model.safetensors"
    before, after = (load_file(folder / "teacher" / unet) for folder in (halved_run, tmp_path))
    assert all(abs(tensor - after[name].float()).max() < 1e-3 for name, tensor in before.items())
    assert (tmp_path / "teacher" / unet).stat().st_size < 0.6 * (halved_run / "teacher" / unet).stat().st_size
    load_components(tmp_path / "teacher")
    assert read_manifest(halved_run / "teacher").digest[:16] in (tmp_path / "teacher" / "README.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["scores"]
    assert Image.open(tmp_path / "gallery" / "curves.png").width > 300


def test_what_would_be_large_or_is_in_the_way_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"export\.half True"):
        ship.main(["--run", str(tiny_run), "--out", str(tmp_path)])
    (tmp_path / "teacher").mkdir()
    with pytest.raises(UserError, match="not an artifact"):
        ship.place(tmp_path / "new", tmp_path / "teacher")

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs import preflight
from jobs.preflight import preflight as check
from naruto_add import recipe
from naruto_add.config import Recipe
from naruto_add.errors import UserError


@pytest.fixture
def sound(tiny_base: Path) -> Recipe:
    """A recipe that passes."""
    return recipe.load(
        "smoke", {"teacher.base": str(tiny_base), "data.size_px": 32, "distill.head_start": None}
    )  # fmt: skip


def changed(base: Recipe, flags: dict[str, object]) -> Recipe:
    """The recipe with further flags."""
    kept = {"teacher.base": base.teacher.base, "data.size_px": 32, "distill.head_start": None}
    return recipe.load("smoke", kept | flags)


def test_a_sound_recipe_passes_and_touches_nothing(sound: Recipe, tmp_path: Path) -> None:
    check(sound, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"teacher.base": "/nowhere"}, "teacher.base /nowhere: not a folder"),
        ({"teacher.base": "owner/name"}, "as a hub id it needs `revision`"),
        ({"data.size_px": 40}, "data.size_px .40. must be a multiple of 16"),
        ({"data.source": "/nothing"}, "data.source /nothing: no such folder"),
        ({"distill.head_start": "/none"}, "distill.head_start /none"),
        ({"compute.cpus_per_worker": 1000.0}, "wait for ever"),
        ({"data.num_images": 10**12}, "GB free, some"),
    ],
)
def test_what_is_wrong_is_told(sound: Recipe, flags: dict[str, object], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        check(changed(sound, flags), tmp_path / "run")


def test_all_of_it_together(sound: Recipe, tmp_path: Path) -> None:
    wrong = changed(sound, {"teacher.base": "/nowhere", "data.source": "/nothing", "distill.head_start": "/none"})
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="4 problems") as caught:
        check(wrong, tmp_path / "file")
    assert "is a file; name a folder" in str(caught.value)


def test_a_base_of_another_architecture(sound: Recipe, tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    config = json.loads((base / "unet" / "config.json").read_text())
    (base / "unet" / "config.json").write_text(json.dumps(config | {"in_channels": 9, "cross_attention_dim": 1024}))
    with pytest.raises(UserError, match="2 problems"):
        check(changed(sound, {"teacher.base": str(base)}), tmp_path / "run")


def test_warnings_go_to_stderr(sound: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(changed(sound, {"compute.precision": "bf16"}), tmp_path / "run")
    captured = capsys.readouterr()
    assert captured.out == "" and "warning: compute.precision bf16" in captured.err


def test_space_grows_with_images_and_model(sound: Recipe) -> None:
    assert preflight.space_needed(changed(sound, {"data.num_images": 10_000})) > preflight.space_needed(sound)
    assert preflight.unet_bytes(recipe.load("sd15")) > 1e9

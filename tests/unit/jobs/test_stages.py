from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import stages
from naruto_add import artifact, recipe
from naruto_add.config import Recipe
from naruto_add.errors import UserError

SMOKE = recipe.load("smoke")


def flags(**values: Any) -> Recipe:
    """The smoke recipe with flags, `__` for a dot."""
    return recipe.load("smoke", {name.replace("__", "."): value for name, value in values.items()})


@pytest.mark.parametrize(
    ("section", "changed"),
    [
        ("data", flags(data__s3_endpoint="http://127.0.0.1:9000", data__max_rejected=0.1)),
        ("teacher", flags(teacher__optim__checkpoint_images=1, teacher__optim__preview_images=1)),
        ("teacher", flags(teacher__optim__accumulation=2, teacher__optim__gradient_checkpointing=True)),
        ("distill", flags(distill__optim__preview_images=1, compute__workers=1, compute__zero_stage=3)),
        ("evaluate", flags(evaluate__batch_size=1)),
    ],
)
def test_what_decides_nothing_is_not_in_the_key(section: str, changed: Recipe) -> None:
    assert changed != SMOKE
    assert stages.decisive(changed, section) == stages.decisive(SMOKE, section)


def test_where_a_collapse_begins_is_in_the_key() -> None:
    """A rollback draws new heads and slows them, so it changes the student."""
    assert stages.decisive(flags(distill__collapse_gap=1.0), "distill") != stages.decisive(SMOKE, "distill")


def test_every_other_setting_is_in_the_key() -> None:
    for section in stages.DECIDES_NOTHING:
        kept = {f"{section}.{path}" for path in leaves(stages.decisive(SMOKE, section)[section])}
        left_out = {s for s in recipe.settings() if s.startswith(f"{section}.")} - kept
        assert left_out == {
            s for s in left_out if s.rpartition(".")[2] in (*stages.DECIDES_NOTHING[section], *stages.PACE)
        }
        assert stages.decisive(replace(SMOKE, seed=1), section) != stages.decisive(SMOKE, section)


def leaves(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted paths of a nested dictionary's values."""
    found: set[str] = set()
    for name, value in values.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
    return found


def test_a_local_sources_files_are_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a ninja")
    before = stages.fingerprint(str(tmp_path))
    assert before == stages.fingerprint(str(tmp_path))
    (tmp_path / "b.txt").write_text("another")
    assert stages.fingerprint(str(tmp_path)) != before
    assert stages.fingerprint("builtin") is None
    assert stages.fingerprint("s3://bucket/prefix") is None


def test_a_head_starts_content_is_in_the_key(tmp_path: Path) -> None:
    assert stages.head_start_digest(None) is None
    assert stages.head_start_digest(str(tmp_path)) is None
    (tmp_path / "unet.safetensors").write_bytes(b"1")
    assert stages.head_start_digest(str(tmp_path)) == artifact.sha256_file(tmp_path / "unet.safetensors")


def test_the_work_folder_outlives_a_failure_and_the_artifact_does_not_appear(tmp_path: Path) -> None:
    def fails(folder: Path, work: Path) -> None:
        work.mkdir(parents=True)
        (work / "checkpoint").touch()
        (folder / "half").touch()
        raise UserError("no space")

    def goes_on(folder: Path, work: Path) -> None:
        assert (work / "checkpoint").exists()
        (folder / "whole").touch()

    with pytest.raises(UserError):
        stages.stage("finetune", tmp_path, "teacher", {}, {}, fails)
    assert not (tmp_path / "teacher").exists()
    made = stages.stage("finetune", tmp_path, "teacher", {}, {}, goes_on)
    assert set(made.manifest.files) == {"whole"}


def test_only_one_process_works_in_a_run(tmp_path: Path) -> None:
    with stages.occupied(tmp_path / "run"):
        with pytest.raises(UserError, match="another naruto-add"), stages.occupied(tmp_path / "run"):
            pass
        with stages.occupied(tmp_path / "other"):
            pass
    with stages.occupied(tmp_path / "run"):
        pass

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from naruto_add.config import DataConfig
from naruto_add.data import hub
from naruto_add.data.ingest import Shape, open_source
from naruto_add.data.prepare import check
from tests.unit.data.pictures import folder_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set as `datasets` saves it, its images embedded."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = datasets.load_dataset("imagefolder", data_dir=str(folder_of(tmp_path / "mine", 6)), split="train")
    found.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": found}).save_to_disk(tmp_path / "splits")
    return tmp_path


@pytest.mark.parametrize("name", ["saved", "splits"])
def test_a_saved_data_set_gives_its_original_bytes(saved: Path, name: str) -> None:
    source = open_source(DataConfig(source=str(saved / name)), 0)
    items = source.listing().items
    assert len(items) == 6
    numbers = set()
    for item in items:
        content, caption = source.read(item)
        number = int(caption.removeprefix("ninja number "))
        numbers.add(number)
        assert content == (saved / f"mine/{'ab'[number % 2]}/{number:03d}.jpg").read_bytes()
        assert source.load(item, Shape(32, 10**6)).width == 96
    assert numbers == set(range(6))


def test_a_data_set_without_images_is_told(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"words": ["a"] * 5}).save_to_disk(tmp_path / "saved")
    (problem,) = check(DataConfig(source=str(tmp_path / "saved")))
    assert "no image column" in problem and "it has words" in problem


@pytest.mark.parametrize("revision", [None, "main", "0123"])
def test_a_hub_data_set_must_be_pinned(revision: str | None) -> None:
    (problem,) = check(DataConfig(source="someone/ninjas", revision=revision))
    assert "40-digit commit" in problem


def test_a_hub_data_set_that_cannot_be_had_is_told() -> None:
    """In a process of its own: whether the hub may be asked is decided when its library is imported."""
    code = (
        "from naruto_add.config import DataConfig\nfrom naruto_add.data.prepare import check\n"
        f"(problem,) = check(DataConfig(source='someone/ninjas', revision='{COMMIT}'))\n"
        "assert 'someone/ninjas' in problem and 'network' in problem, problem"
    )
    offline = {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, env=offline)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (problem,) = check(DataConfig(source="someone/ninjas", revision=COMMIT))
    assert "naruto-add[datasets]" in problem


@pytest.mark.parametrize(
    ("name", "answer"), [("someone/ninjas", True), ("./someone/ninjas", False), ("~/x", False), ("a/b/c", False)]
)
def test_what_looks_like_a_hub_id(name: str, answer: bool) -> None:
    assert hub.is_id(name) is answer

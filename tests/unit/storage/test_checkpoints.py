from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from naruto_add.artifact import MANIFEST, sha256_file, write_json
from naruto_add.errors import UserError
from naruto_add.storage import checkpoints, mirror
from naruto_add.storage.s3 import Patience
from tests.faults import Asked, Fault, Storage, always
from tests.unit.storage.conftest import PART, QUICK


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PATIENCE", QUICK)
    monkeypatch.setattr(checkpoints, "PATIENCE", Patience(seconds=0.3, first_s=0.01, longest_s=0.05))
    monkeypatch.setattr(checkpoints, "POLL_S", 0.01)


Machine = Callable[[str], tuple[Path, Path]]


@pytest.fixture
def machine(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Go to a machine, which has a cache of its own; gives the mirror of the run and a stage's work folder there."""

    def go(name: str) -> tuple[Path, Path]:
        monkeypatch.setenv(mirror.CACHE, str(tmp_path / name))
        run = mirror.local(f"s3://{bucket}/run")
        return run, run / ".work" / "distill-0"

    return go


def saved(work: Path, images: int, size: int = 1000) -> Path:
    """A checkpoint as training commits it, in place of older ones."""
    folder = work / "checkpoints" / f"images-{images:012d}"
    aside = folder.with_name(f".{folder.name}.partial")
    aside.mkdir(parents=True)
    (aside / "rank-00000.safetensors").write_bytes(os.urandom(size))
    files = {file.name: [file.stat().st_size, sha256_file(file)] for file in aside.iterdir()}
    write_json(aside / MANIFEST, {"kind": "checkpoint", "files": files})
    aside.replace(folder)
    for old in checkpoints.committed(folder.parent)[checkpoints.KEEP :]:
        shutil.rmtree(folder.parent / old)
    return folder


def waited(test: Callable[[], bool]) -> None:
    """Until it is so."""
    limit = time.monotonic() + 60
    while not test():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.01)


def arrived(storage: Storage, bucket: str) -> list[int]:
    """The images of the whole checkpoints in the storage."""
    names = [key.split("/") for key in storage.keys(bucket) if key.endswith(f"/{MANIFEST}")]
    return [int(parts[-2].removeprefix("images-")) for parts in names if parts[-2].startswith("images-")]


def test_a_fresh_machine_resumes_from_the_newest_checkpoint(machine: Machine, faulty: Storage, bucket: str) -> None:
    run, work = machine("here")
    with checkpoints.kept(run, work):
        for images in (8, 16, 24):
            newest = saved(work, images, size=3 * PART)
            waited(lambda images=images: images in arrived(faulty, bucket))  # type: ignore[misc]
        waited(lambda: arrived(faulty, bucket) == [16, 24])
        (work / "previews").mkdir()
        (work / "previews" / "images-24.png").write_bytes(b"picture")
        (work / ".half").write_bytes(b"")
    run, there = machine("there")
    with checkpoints.kept(run, there):
        assert checkpoints.committed(there / "checkpoints") == [newest.name]
        weights = "rank-00000.safetensors"
        assert (there / "checkpoints" / newest.name / weights).read_bytes() == (newest / weights).read_bytes()
        assert (there / "previews" / "images-24.png").read_bytes() == b"picture"
        assert not (there / ".half").exists()


def test_the_newer_of_what_is_here_and_there_counts(machine: Machine, faulty: Storage, bucket: str) -> None:
    run, work = machine("here")
    with checkpoints.kept(run, work):
        saved(work, 8)
        waited(lambda: arrived(faulty, bucket) == [8])
    mine = saved(work, 16)
    with checkpoints.kept(run, work):
        assert checkpoints.committed(work / "checkpoints")[0] == mine.name
        waited(lambda: arrived(faulty, bucket) == [8, 16])
    (mine / "rank-00000.safetensors").write_bytes(b"damaged")
    with checkpoints.kept(run, work):
        assert checkpoints.tree.is_whole(mine), "a damaged one here is replaced by the same one from there"


def test_a_damaged_one_there_gives_way_to_the_one_before(
    machine: Machine, faulty: Storage, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    run, work = machine("here")
    with checkpoints.kept(run, work):
        for images in (8, 16):
            saved(work, images)
            waited(lambda images=images: images in arrived(faulty, bucket))  # type: ignore[misc]
    faulty.fate = always(lambda asked: asked.gets("images-000000000016/") and asked.gets("rank"), Fault(flips="down"))
    run, there = machine("there")
    with checkpoints.kept(run, there):
        assert checkpoints.committed(there / "checkpoints") == ["images-000000000008"]
    assert "is damaged in the storage" in caplog.text and "The checkpoint before it is tried" in caplog.text


def test_a_storage_that_is_down_for_a_while_is_told_once_and_gets_the_newest_later(
    machine: Machine, faulty: Storage, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    run, work = machine("here")
    with checkpoints.kept(run, work):
        faulty.fate = always(lambda asked: True, Fault(503))
        for images in (8, 16, 24, 32):
            saved(work, images)
            time.sleep(0.2)
        waited(lambda: "no answer" in caplog.text)
        faulty.fate = lambda asked: None
        waited(lambda: 32 in arrived(faulty, bucket) and "takes what is sent again" in caplog.text)
    assert caplog.text.count("The stage goes on") == 1


def test_a_checkpoint_that_is_pruned_while_it_is_sent_arrives_whole(
    machine: Machine, faulty: Storage, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PATIENCE", QUICK)
    run, work = machine("here")
    begun, gone = threading.Event(), threading.Event()

    def fate(asked: Asked) -> Fault | None:
        if asked.puts("rank") and "images-000000000008" in asked.key and not begun.is_set():
            begun.set()
            gone.wait(60)
            return Fault(503)
        return None

    faulty.fate = fate
    with checkpoints.kept(run, work):
        saved(work, 8)
        assert begun.wait(60)
        for images in (16, 24, 32):
            saved(work, images)
        gone.set()
        waited(lambda: 32 in arrived(faulty, bucket))
    marked = [asked.key for asked in faulty.asked if asked.puts("images-000000000008/manifest.json")]
    assert marked, "the one that was pruned here arrived nonetheless"


@pytest.mark.parametrize("error", [UserError("stopped"), RuntimeError("a worker died")])
def test_stopped_on_request_or_broken_the_last_checkpoint_is_still_sent(
    machine: Machine, faulty: Storage, bucket: str, error: Exception
) -> None:
    run, work = machine("here")
    with pytest.raises(type(error)), checkpoints.kept(run, work):
        saved(work, 8)
        raise error
    assert arrived(faulty, bucket) == [8]


@pytest.mark.parametrize("fault", [Fault(503), Fault(wait_s=0.5)])
def test_ctrl_c_does_not_wait_for_the_storage(
    machine: Machine, faulty: Storage, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PATIENCE", Patience(seconds=60, first_s=30))
    run, work = machine("here")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), checkpoints.kept(run, work):
        faulty.fate = always(Asked.puts, fault)
        saved(work, 8, size=40 * PART)
        waited(lambda: faulty.count(Asked.puts) > 0)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 20


def test_pictures_that_are_forgotten_here_are_forgotten_there(machine: Machine, faulty: Storage, bucket: str) -> None:
    run, work = machine("here")
    picture = work / "previews" / "images-24.png"
    with checkpoints.kept(run, work):
        picture.parent.mkdir(parents=True)
        picture.write_bytes(b"picture")
        saved(work, 8)
        waited(lambda: any("previews" in key for key in faulty.keys(bucket)))
        picture.unlink()
        saved(work, 16)
        waited(lambda: not any("previews" in key for key in faulty.keys(bucket)))


def test_a_finished_stage_leaves_its_metrics_and_no_checkpoints(machine: Machine, faulty: Storage, bucket: str) -> None:
    run, work = machine("here")
    with checkpoints.kept(run, work):
        saved(work, 8)
        waited(lambda: arrived(faulty, bucket) == [8])
        (work / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
    checkpoints.drop(run, work)
    assert faulty.keys(bucket) == ["run/.work/distill-0/metrics.jsonl"]


def test_a_plain_folder_is_left_alone(tmp_path: Path, faulty: Storage) -> None:
    faulty.asked.clear()
    with checkpoints.kept(tmp_path, tmp_path / ".work" / "distill-0"):
        saved(tmp_path / ".work" / "distill-0", 8)
    checkpoints.drop(tmp_path, tmp_path / ".work" / "distill-0")
    assert faulty.asked == []

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from naruto_add import artifact
from naruto_add.artifact import Artifact
from naruto_add.errors import UserError
from naruto_add.storage import mirror
from naruto_add.storage.transfer import Damaged
from tests.faults import Asked, Fault, Storage, always
from tests.unit.storage.conftest import QUICK, SECRET


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PATIENCE", QUICK)
    monkeypatch.setattr(mirror, "FIRST_PATIENCE", QUICK)


@pytest.fixture
def machine(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Go to a machine, which has a cache of its own; gives the mirror of the run there."""

    def go(name: str) -> Path:
        monkeypatch.setenv(mirror.CACHE, str(tmp_path / name))
        run = mirror.local(f"s3://{bucket}/runs/one")
        run.mkdir(parents=True, exist_ok=True)
        return run

    return go


def made(run: Path, kind: str, seed: int = 0, **parents: Artifact) -> Artifact:
    """An artifact as a stage makes it."""
    make = lambda folder: (folder / "file").write_text(f"{kind} {seed}", encoding="utf-8")  # noqa: E731
    return artifact.build(run / kind, kind=kind, config={"seed": seed}, parents=parents, make=make)


def seed_of(run: Path, kind: str) -> int:
    """What the artifact at hand was made of."""
    one = artifact.open_artifact(run / kind, kind)
    artifact.verify(one)
    return int(one.manifest.config["seed"])


def test_a_run_of_a_plain_path_is_where_it_is_and_nowhere_else(tmp_path: Path, faulty: Storage) -> None:
    faulty.asked.clear()
    run = mirror.local(str(tmp_path / "run"))
    assert run == tmp_path / "run" and mirror.store_of(run) is None and mirror.check(run) == []
    key = made(run, "teacher").manifest.key
    mirror.send(run, "teacher")
    mirror.fetch_newer(run, "teacher")
    assert not mirror.fetch_current(run, "student", key)
    assert faulty.asked == []


def test_a_mirror_is_a_folder_of_the_cache_and_tells_what_it_mirrors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mirror.CACHE, str(tmp_path))
    for uri, folder in (("s3://b", "s3/b"), ("s3://b/runs/one/", "s3/b/runs/one")):
        run = mirror.local(uri)
        store = mirror.store_of(run)
        assert run == tmp_path / folder and store is not None and store.place.uri == uri.rstrip("/") + "/"
    monkeypatch.delenv(mirror.CACHE)
    assert mirror.local("s3://b").is_relative_to(Path.home() / ".cache")


@pytest.mark.parametrize("run", ["s3://", "s3://b//a", "s3://b/../a", "s3://../a", "s3://b/a/./b"])
def test_names_that_lead_elsewhere_are_refused(run: str) -> None:
    (problem,) = mirror.problems(run)
    assert run in problem


def test_another_machine_gets_an_artifact_with_its_forebears(machine: Callable[[str], Path]) -> None:
    here = machine("here")
    shards = made(here, "shards")
    teacher = made(here, "teacher", shards=shards)
    for kind in ("shards", "teacher"):
        mirror.send(here, kind)
    there = machine("there")
    mirror.fetch_newer(there, "teacher")
    for one in (shards, teacher):
        back = artifact.open_artifact(there / one.manifest.kind, one.manifest.kind)
        artifact.verify(back)
        assert back.digest == one.digest


def test_only_the_artifact_that_is_wanted_is_fetched(machine: Callable[[str], Path]) -> None:
    here = machine("here")
    one = made(here, "shards")
    mirror.send(here, "shards")
    there = machine("there")
    assert not mirror.fetch_current(there, "shards", "another key") and not (there / "shards").exists()
    assert mirror.fetch_current(there, "shards", one.manifest.key) and seed_of(there, "shards") == 0
    assert not mirror.fetch_current(there, "shards", one.manifest.key), "it is here now"


def test_a_newer_artifact_of_another_machine_is_taken_and_ours_set_aside(machine: Callable[[str], Path]) -> None:
    here, there = machine("here"), machine("there")
    made(machine("here"), "shards")
    mirror.send(here, "shards")
    machine("there")
    mirror.fetch_newer(there, "shards")
    made(there, "shards", seed=1)
    mirror.send(there, "shards")
    machine("here")
    mirror.fetch_newer(here, "shards")
    assert seed_of(here, "shards") == 1
    assert len(list((here / ".old").glob("shards-*"))) == 1


def test_an_artifact_that_could_not_be_sent_stays_and_is_sent_later(
    machine: Callable[[str], Path], faulty: Storage
) -> None:
    here = machine("here")
    made(here, "shards")
    mirror.send(here, "shards")
    made(here, "shards", seed=1)
    faulty.fate = always(Asked.puts, Fault(403, "AccessDenied"))
    with pytest.raises(UserError, match="access is denied"):
        mirror.send(here, "shards")
    faulty.fate = lambda asked: None
    mirror.fetch_newer(here, "shards")
    assert seed_of(here, "shards") == 1, "the storage's older one does not take its place"
    mirror.send(here, "shards")
    there = machine("there")
    mirror.fetch_newer(there, "shards")
    assert seed_of(there, "shards") == 1


def test_a_damaged_artifact_is_told_and_what_is_here_stays(machine: Callable[[str], Path], faulty: Storage) -> None:
    here = machine("here")
    made(here, "shards")
    mirror.send(here, "shards")
    there = machine("there")
    faulty.fate = always(lambda asked: asked.gets("/file"), Fault(flips="down"))
    with pytest.raises(Damaged, match="damaged in the storage"):
        mirror.fetch_newer(there, "shards")
    assert not (there / "shards").exists()
    faulty.fate = lambda asked: None
    mirror.fetch_newer(there, "shards")
    assert seed_of(there, "shards") == 0
    assert {p.name for p in there.iterdir()} == {"shards", mirror.AGREED}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(404, "NoSuchBucket"), "there is no such bucket"),
        (Fault(403, "AccessDenied"), "access is denied"),
        (Fault(403, "ExpiredToken"), "have expired"),
        (Fault(503), "no answer for 1 s"),
    ],
)
def test_a_storage_where_nothing_can_be_kept_is_told_before_anything_begins(
    machine: Callable[[str], Path], faulty: Storage, fault: Fault, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "FIRST_PATIENCE", mirror.Patience(seconds=0.6, first_s=0.05))
    run = machine("here")
    assert mirror.check(run) == []
    faulty.fate = always(Asked.puts, fault)
    (problem,) = mirror.check(run)
    assert told in problem and SECRET not in problem

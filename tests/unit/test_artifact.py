from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from naruto_add import artifact
from naruto_add.artifact import Artifact, link, open_artifact, verify
from naruto_add.errors import UserError


def made(folder: Path) -> artifact.Artifact:
    config = {"share": 1e-05, "names": ["é", "b"]}
    return artifact.build(
        folder, kind="shards", config=config, parents={}, make=lambda path: (path / "a.txt").write_text("a")
    )


def flipped(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_no_bit_of_a_manifest_changes_unnoticed(tmp_path: Path) -> None:
    """Among them those that change no value: 1e-05 to 1E-05, a space, the version, the name of the seal."""
    manifest = made(tmp_path / "shards").path / "manifest.json"
    size = manifest.stat().st_size
    exponent = manifest.read_bytes().index(b"1e-05") + 1
    places = [(place, bit) for place in range(size) for bit in range(8)]
    for place, bit in [(exponent, 5), *((place, 5) for place in range(40)), *random.Random(0).sample(places, 150)]:
        flipped(manifest, place, bit)
        with pytest.raises(UserError):
            artifact.open_artifact(tmp_path / "shards", "shards")
        flipped(manifest, place, bit)
    assert artifact.open_artifact(tmp_path / "shards", "shards").digest


def test_manifests_without_a_seal_are_still_read(tmp_path: Path) -> None:
    found = made(tmp_path / "shards")
    values = artifact.read_sealed(found.path / "manifest.json")
    artifact.write_json(found.path / "manifest.json", values)
    assert artifact.open_artifact(found.path, "shards").digest == found.digest


def test_what_a_stage_is_made_of_is_looked_at_first(tmp_path: Path) -> None:
    from jobs import stages

    parent = artifact.build(
        tmp_path / "teacher",
        kind="teacher",
        config={},
        parents={},
        make=lambda path: (path / "w").write_text("weights"),
    )
    flipped(parent.path / "w", 3, 0)
    with pytest.raises(UserError, match="content changed since it was made: w"):
        stages.stage("distill", tmp_path, "student", {}, {"teacher": parent}, lambda folder, work: None)
    assert not (tmp_path / "student").exists()


def thing(path: Path, content: str) -> Artifact:
    def make(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text(content)

    return artifact.build(path, kind="thing", config={"content": content}, parents={}, make=make)


def test_a_linked_artifact_is_the_same_and_takes_no_space(tmp_path: Path) -> None:
    source = thing(tmp_path / "one" / "thing", "a")
    linked = link(source, tmp_path / "two" / "thing")
    verify(linked)
    assert linked.digest == source.digest
    assert (linked.path / "deep" / "a.txt").samefile(source.path / "deep" / "a.txt")
    assert link(source, tmp_path / "two" / "thing").digest == source.digest, "again: it is there"


def test_where_links_are_impossible_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: str, target: str) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    source = thing(tmp_path / "one" / "thing", "a")
    verify(link(source, tmp_path / "two" / "thing"))


def test_another_artifact_in_its_place_is_moved_aside(tmp_path: Path) -> None:
    older, source = thing(tmp_path / "two" / "thing", "old"), thing(tmp_path / "one" / "thing", "new")
    link(source, tmp_path / "two" / "thing")
    assert open_artifact(tmp_path / "two" / "thing", "thing").digest == source.digest
    (aside,) = (tmp_path / "two" / ".old").iterdir()
    assert open_artifact(aside, "thing").digest == older.digest

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from naruto_add import artifact
from naruto_add.artifact import Artifact, Manifest, link, open_artifact, verify
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


def test_the_same_key_is_not_made_again_and_a_lost_file_is(tmp_path: Path) -> None:
    path, calls = tmp_path / "deep" / "thing", []

    def make(folder: Path) -> None:
        calls.append(folder.name)
        (folder / "a.txt").write_text("abc")

    def again(**config: int) -> Artifact:
        return artifact.build(path, kind="thing", config=config, parents={}, make=make)

    first = again(n=1)
    assert again(n=1) == first == open_artifact(path, "thing") and calls == [".thing.partial"]
    (path / "a.txt").write_text("ab")
    with pytest.raises(UserError, match=r"1 files are missing or cut short, first a\.txt"):
        open_artifact(path, "thing")
    assert again(n=1).digest == first.digest and len(calls) == 2
    for n in (2, 1, 2):
        again(n=n)
    assert len(calls) == 5
    kept = {folder.name for folder in (path.parent / ".old").iterdir()}
    assert kept == {f"thing-{made.digest[:12]}" for made in (first, open_artifact(path, "thing"))}


def test_what_cannot_be_made_leaves_nothing_and_its_rest_does_not_hinder(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise ValueError("no space")

    with pytest.raises(ValueError, match="no space"):
        artifact.build(tmp_path / "thing", kind="thing", config={"content": "a"}, parents={}, make=broken)
    assert not (tmp_path / "thing").exists()
    assert list(thing(tmp_path / "thing", "a").manifest.files) == ["deep/a.txt"]
    other = tmp_path / "two" / "thing"
    (other.parent / ".thing.partial").mkdir(parents=True)
    assert link(thing(tmp_path / "thing", "a"), other).digest == open_artifact(tmp_path / "thing", "thing").digest


def test_what_is_no_artifact_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="thing exists and is not an artifact of naruto-add; move it away"):
        thing(tmp_path / "thing", "a")
    assert (tmp_path / "thing" / "mine.txt").read_text() == "mine"


def test_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    thing(tmp_path / "thing", "a")
    with pytest.raises(UserError, match="thing is a thing, not a student"):
        open_artifact(tmp_path / "thing", "student")
    with pytest.raises(UserError, match=r"nowhere: no thing there \(manifest\.json is missing\)"):
        open_artifact(tmp_path / "nowhere", "thing")


def test_only_changed_files_are_named(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        for name in "abc":
            (folder / name).write_text(name)

    found = artifact.build(tmp_path / "thing", kind="thing", config={}, parents={}, make=make)
    for name in "ac":
        flipped(found.path / name, 0, 0)
    with pytest.raises(UserError, match=r"content changed since it was made: a, c\. Make it again"):
        verify(found)


def test_the_key_and_the_digest_are_golden() -> None:
    """A changed key would make every stage of every run anew; the version of the code is no part of it."""
    found = Manifest("thing", {"b": 1, "a": "é"}, {"p": "q"}, {"f": [1, "00"]}, code="0.0")
    assert found.key == artifact.sha256_text('{"config":{"a":"é","b":1},"kind":"thing","parents":{"p":"q"},"schema":1}')
    assert found.digest == artifact.sha256_text('{"files":{"f":[1,"00"]},"key":"' + found.key + '"}')
    assert artifact.sha256_text("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"
    assert artifact.readable({"a": "é"}) == '{\n  "a": "é"\n}\n'


def test_parents_are_named_by_their_digests(tmp_path: Path) -> None:
    parent = thing(tmp_path / "thing", "a")
    assert artifact.plan("child", {"x": (1, 2)}, {"of": parent}) == Manifest(
        "child", {"x": [1, 2]}, {"of": parent.digest}
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 2}, r"made by a newer naruto-add \(schema 2\)"),
        ({"digest": "0"}, r"manifest\.json has been altered: its digest does not match"),
        ({"kind": "other"}, "its digest does not match"),
        ({"note": 1}, "is not a manifest of naruto-add .*note"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    found = thing(tmp_path / "thing", "a")
    values = artifact.read_sealed(found.path / "manifest.json") | change
    artifact.write_json(found.path / "manifest.json", artifact.sealed(values))
    with pytest.raises(UserError, match=f"^{found.path}.*{says}"):
        artifact.read_manifest(found.path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[]", "no JSON object"),
        (b"{", "property name"),
        (b"\xff", "utf-8"),
        (b"{}\n", "digest"),
        (b"{ }", "content has changed since it was written"),
        (artifact.readable({"a": 1, "seal": "0"}).encode(), "content has changed since it was written"),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(UserError, match=f"here/manifest.json is not a manifest of naruto-add .*{says}"):
        artifact.parse_manifest(content, "here")


def test_what_is_written_is_never_half_there(tmp_path: Path) -> None:
    artifact.write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        artifact.write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_names_that_lead_out_of_a_folder_are_told_apart() -> None:
    assert [artifact.is_inside(name) for name in ("a", "a/b.txt", "..a", "a..")] == [True] * 4
    assert [artifact.is_inside(name) for name in ("", "/a", "..", "a/../b", "../a")] == [False] * 5

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from naruto_add import artifact
from naruto_add.artifact import Artifact
from naruto_add.errors import UserError
from naruto_add.storage import tree
from naruto_add.storage.s3 import Refused, Store
from naruto_add.storage.transfer import Damaged, put
from tests.faults import Fault, Storage, always
from tests.unit.storage.conftest import PART

NAMES = ("a.json", "deep/large.bin", "deep/small.bin")


def made(place: Path, seed: int = 0) -> Artifact:
    """A small artifact with files of several sizes."""

    def make(folder: Path) -> None:
        (folder / "deep").mkdir()
        for name, size in zip(NAMES, (10, 2 * PART, 500), strict=True):
            (folder / name).write_bytes(os.urandom(size))

    return artifact.build(place, kind="teacher", config={"seed": seed}, parents={}, make=make)


def counts(store: Store) -> str | None:
    """The digest of the version that counts in the storage."""
    content = store.read("teacher/manifest.json")
    return None if content is None else artifact.parse_manifest(content, "there").digest


def test_the_marker_comes_last_and_a_fetched_folder_is_the_same_artifact(
    store: Store, faulty: Storage, tmp_path: Path
) -> None:
    one = made(tmp_path / "teacher")
    tree.send(store, "teacher", one.path)
    assert [asked.key for asked in faulty.asked if asked.puts()][-1].endswith("/runs/one/teacher/manifest.json")
    manifest = store.read("teacher/manifest.json")
    assert manifest is not None
    tree.fetch(store, "teacher", manifest, tmp_path / "back")
    back = artifact.open_artifact(tmp_path / "back", "teacher")
    artifact.verify(back)
    assert back == Artifact(tmp_path / "back", one.manifest)


def test_what_is_there_is_not_sent_again(store: Store, faulty: Storage, tmp_path: Path) -> None:
    one = made(tmp_path / "teacher")
    tree.send(store, "teacher", one.path)
    faulty.asked.clear()
    tree.send(store, "teacher", one.path)
    assert [asked.method for asked in faulty.asked] == ["GET"]


@pytest.mark.parametrize("broken", ["deep/large.bin", "deep/small.bin", "teacher/manifest.json"])
def test_an_interrupted_send_shows_nothing_and_goes_on(
    store: Store, faulty: Storage, tmp_path: Path, broken: str
) -> None:
    before = made(tmp_path / "before" / "teacher")
    tree.send(store, "teacher", before.path)
    one = made(tmp_path / "teacher", seed=1)
    faulty.fate = always(lambda asked: asked.puts(broken), Fault(403, "AccessDenied"))
    with pytest.raises(Refused):
        tree.send(store, "teacher", one.path)
    assert counts(store) == before.digest, "the one before stays whole until the new one is"
    arrived = set(store.sizes("teacher/"))
    faulty.fate = lambda asked: None
    faulty.asked.clear()
    tree.send(store, "teacher", one.path)
    assert counts(store) == one.digest
    again = {asked.key.partition("/runs/one/")[2] for asked in faulty.asked if asked.puts()}
    assert not again & {key for key in arrived if not key.endswith("manifest.json")}


def test_a_file_that_is_lost_or_cut_short_in_the_storage_is_damage(store: Store, tmp_path: Path) -> None:
    tree.send(store, "teacher", made(tmp_path / "teacher").path)
    manifest = store.read("teacher/manifest.json")
    assert manifest is not None
    key = next(key for key in store.sizes("teacher/") if key.endswith("small.bin"))
    put(store, key, b"short")
    with pytest.raises(Damaged, match=r"small\.bin is"):
        tree.fetch(store, "teacher", manifest, tmp_path / "back")
    store.delete(key)
    with pytest.raises(Damaged, match=r"small\.bin is missing or cut short"):
        tree.fetch(store, "teacher", manifest, tmp_path / "back")
    assert not (tmp_path / "back" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", ""])
def test_a_hostile_manifest_cannot_write_outside(store: Store, tmp_path: Path, name: str) -> None:
    hostile = json.dumps({"files": {name: [0, "0" * 64]}}).encode()
    with pytest.raises(UserError, match="outside its folder"):
        tree.fetch(store, "teacher", hostile, tmp_path / "deep" / "back")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"files": {"a": 1}}', b"\xff"])
def test_what_is_no_manifest_is_told(store: Store, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Damaged, match="is not a manifest"):
        tree.fetch(store, "teacher", content, tmp_path / "back")


def test_nothing_is_left_of_a_removed_folder_nor_of_uploads_to_it(
    store: Store, faulty: Storage, tmp_path: Path
) -> None:
    tree.send(store, "old/a", made(tmp_path / "a").path)
    tree.send(store, "old/b", made(tmp_path / "b").path)
    faulty.fate = always(lambda asked: asked.puts("large"), Fault(403, "AccessDenied"))
    with pytest.raises(Refused):
        tree.send(store, "old/a", made(tmp_path / "c", seed=2).path)
    faulty.fate = lambda asked: None
    put(store, "old/.hidden/manifest.json", b"{}")
    assert tree.names(store, "old") == {"b": True, "a": True}
    tree.remove(store, "old/a")
    assert list(tree.names(store, "old")) == ["b"]
    assert "Uploads" not in faulty.s3.list_multipart_uploads(Bucket=store.place.bucket)

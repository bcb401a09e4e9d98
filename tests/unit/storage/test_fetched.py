from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from naruto_add import artifact
from naruto_add.artifact import Artifact
from naruto_add.errors import UserError
from naruto_add.storage import fetched, mirror, tree
from naruto_add.storage.s3 import Refused, Store
from naruto_add.storage.transfer import Damaged, put
from tests.faults import Fault, Storage, always
from tests.unit.storage.conftest import PART, QUICK

FILES = ("README.md", "unet/large.bin")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose cache is empty."""
    monkeypatch.setattr(mirror, "PATIENCE", QUICK)
    monkeypatch.setattr(mirror, "FIRST_PATIENCE", QUICK)
    monkeypatch.setenv(mirror.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "fetched"


@pytest.fixture
def sent(store: Store, faulty: Storage, tmp_path: Path) -> Callable[[], tuple[str, Artifact]]:
    """Make a bundle, of another content each time, and send it; gives its URI too."""

    def make(folder: Path) -> None:
        (folder / "unet").mkdir()
        for name, size in zip(FILES, (100, 2 * PART), strict=True):
            (folder / name).write_bytes(os.urandom(size))

    def send() -> tuple[str, Artifact]:
        shutil.rmtree(tmp_path / "made", ignore_errors=True)
        made = artifact.build(tmp_path / "made" / "bundle", kind="bundle", config={}, parents={}, make=make)
        tree.send(store, "bundle", made.path)
        faulty.asked.clear()
        return f"{store.place.uri}bundle", made

    return send


Sent = Callable[[], tuple[str, Artifact]]


def digest(folder: Path) -> str:
    """The digest of a whole bundle."""
    opened = artifact.open_artifact(folder, "bundle")
    artifact.verify(opened)
    return opened.digest


def bodies(faulty: Storage) -> list[str]:
    """The files, manifests apart, that were asked for since the last look."""
    names = [asked.key for asked in faulty.asked if asked.gets() and not asked.key.endswith(artifact.MANIFEST)]
    faulty.asked.clear()
    return names


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert fetched.folder("runs/x/bundle", "bundle") == Path("runs/x/bundle")
    assert fetched.pinned("runs/x/bundle", "bundle") == "runs/x/bundle"


@pytest.mark.parametrize("end", ["", "/"])
def test_it_is_fetched_once_and_a_newer_one_beside_it(sent: Sent, faulty: Storage, end: str) -> None:
    uri, one = sent()
    first = fetched.folder(uri + end, "bundle")
    assert digest(first) == one.digest and {key.rpartition("/")[2] for key in bodies(faulty)} == {
        "README.md",
        "large.bin",
    }
    assert fetched.folder(uri + end, "bundle") == first and bodies(faulty) == []
    _, two = sent()
    second = fetched.folder(uri + end, "bundle")
    assert digest(second) == two.digest and digest(first) == one.digest, "who reads the first one is not disturbed"


def test_a_pinned_name_stays_what_it_was_and_needs_no_storage_once_it_is_here(sent: Sent, faulty: Storage) -> None:
    uri, one = sent()
    pinned = fetched.pinned(uri, "bundle")
    assert bodies(faulty) == [] and pinned.startswith(f"{uri}/") and fetched.pinned(pinned, "bundle") == pinned
    _, two = sent()
    assert fetched.pinned(uri, "bundle") != pinned
    assert digest(fetched.folder(pinned, "bundle")) == one.digest
    faulty.asked.clear()
    assert digest(fetched.folder(pinned, "bundle")) == one.digest and faulty.asked == []
    assert digest(fetched.folder(uri, "bundle")) == two.digest


def test_a_folder_that_was_copied_to_a_bucket_as_it_is_will_do(sent: Sent, store: Store) -> None:
    _, one = sent()
    for path in (path for path in one.path.rglob("*") if path.is_file()):
        put(store, f"copied/{path.relative_to(one.path).as_posix()}", path.read_bytes())
    uri = f"{store.place.uri}copied"
    assert fetched.pinned(uri, "bundle") == uri
    assert digest(fetched.folder(uri, "bundle")) == one.digest


def test_an_interrupted_fetch_shows_nothing_and_goes_on(sent: Sent, faulty: Storage, machine: Path) -> None:
    uri, one = sent()
    faulty.fate = always(lambda asked: f"bytes={PART}" in asked.headers.get("Range", ""), Fault(403, "AccessDenied"))
    with pytest.raises(Refused):
        fetched.folder(uri, "bundle")
    assert [path.name for path in machine.iterdir() if not path.name.startswith(".")] == []
    faulty.fate = lambda asked: None
    bodies(faulty)
    assert digest(fetched.folder(uri, "bundle")) == one.digest
    assert len(bodies(faulty)) == 1, "the part that was missing"


def test_of_several_at_once_one_fetches(sent: Sent, faulty: Storage) -> None:
    uri, one = sent()
    with ThreadPoolExecutor(4) as pool:  # each opens the lock for itself, as processes do
        folders = set(pool.map(lambda _: fetched.folder(uri, "bundle"), range(4)))
    assert [digest(folder) for folder in folders] == [one.digest]
    assert len(bodies(faulty)) == 3, "one small file and one of two parts"


def test_what_is_damaged_there_is_refused_and_what_is_damaged_here_fetched_again(
    sent: Sent, faulty: Storage, machine: Path
) -> None:
    uri, one = sent()
    faulty.fate = always(lambda asked: asked.gets("README.md"), Fault(flips="down"))
    with pytest.raises(Damaged, match=r"README\.md is damaged in the storage"):
        fetched.folder(uri, "bundle")
    assert [path.name for path in machine.iterdir() if not path.name.startswith(".")] == []
    faulty.fate = lambda asked: None
    here = fetched.folder(uri, "bundle")
    for name in ("README.md", artifact.MANIFEST):
        content = bytearray((here / name).read_bytes())
        content[50] ^= 1
        (here / name).write_bytes(content)
        assert digest(fetched.folder(uri, "bundle")) == one.digest


def test_a_run_s_mirror_on_this_machine_is_not_downloaded_again(sent: Sent, store: Store, faulty: Storage) -> None:
    uri, one = sent()
    run = mirror.local(store.place.uri)
    mirror.fetch_newer(run, "bundle")
    bodies(faulty)
    assert digest(fetched.folder(uri, "bundle")) == one.digest and bodies(faulty) == []
    assert digest(run / "bundle") == one.digest


def test_what_is_not_there_is_told(sent: Sent, store: Store) -> None:
    uri, _ = sent()
    for look in (fetched.folder, fetched.pinned):
        with pytest.raises(UserError, match=r"/runs/one: no bundle there .* Write s3://bucket/prefix/bundle"):
            look(store.place.uri, "bundle")
        with pytest.raises(UserError, match=r"/bundle is a bundle, not a teacher"):
            look(uri, "teacher")
        with pytest.raises(UserError, match=r"s3://nowhere/x/: there is no such bucket"):
            look("s3://nowhere/x", "bundle")
        with pytest.raises(UserError, match=r"bundle s3:// names no bucket"):
            look("s3://", "bundle")


@pytest.mark.parametrize("name", ["..", "../..", "."])
def test_a_name_that_leads_elsewhere_is_refused(faulty: Storage, name: str) -> None:
    with pytest.raises(UserError, match="between two slashes"):
        fetched.folder(f"s3://b/{name}", "bundle")


def test_only_reading_is_asked_of_the_storage(sent: Sent, faulty: Storage) -> None:
    uri, _ = sent()
    faulty.fate = always(lambda asked: not asked.gets(), Fault(403, "AccessDenied"))
    fetched.folder(uri, "bundle")
    assert {asked.method for asked in faulty.asked} == {"GET"}

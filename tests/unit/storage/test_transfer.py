from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from naruto_add.artifact import sha256_file
from naruto_add.storage.s3 import Refused, Store
from naruto_add.storage.transfer import Damaged, download, upload
from tests.faults import Asked, Fault, Storage, always, first
from tests.unit.storage.conftest import PART

LARGE = 3 * PART + 17
"""Four parts."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """One thread, so that the order of requests is known."""
    with ThreadPoolExecutor(1) as found:
        yield found


@pytest.fixture(params=[0, 1000, LARGE])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(tmp_path / "file", request.param)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return written(tmp_path / "large", LARGE)


def written(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def fetched(store: Store, file: Path, here: Path) -> bytes:
    """What comes back of a file that was sent."""
    download(store, "a/b", here, file.stat().st_size, sha256_file(file))
    return here.read_bytes()


def sent(store: Store, file: Path, pool: ThreadPoolExecutor) -> None:
    upload(store, "a/b", file, sha256_file(file), pool)


def part(asked: Asked) -> bool:
    """Whether a request sends a part of a large file."""
    return asked.method == "PUT" and "partNumber" in asked.query


def test_a_file_goes_there_and_back_with_its_hash(
    store: Store, faulty: Storage, file: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    sent(store, file, pool)
    assert fetched(store, file, tmp_path / "deep" / "back") == file.read_bytes()
    stored = faulty.s3.head_object(Bucket=store.place.bucket, Key="runs/one/a/b")
    assert stored["Metadata"] == {"sha256": sha256_file(file)}
    assert all("x-amz-checksum-sha256" in asked.headers for asked in faulty.asked if asked.puts())
    assert faulty.count(part) == (4 if file.stat().st_size == LARGE else 0)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["back"]


def test_an_interrupted_upload_goes_on_with_the_missing_parts(
    store: Store, faulty: Storage, large: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    faulty.fate = always(lambda asked: part(asked) and "partNumber=3" in asked.query, Fault(403, "AccessDenied"))
    with pytest.raises(Refused):
        sent(store, large, pool)
    assert faulty.keys(store.place.bucket) == []
    faulty.fate = lambda asked: None
    faulty.asked.clear()
    sent(store, large, pool)
    assert faulty.count(part) in (1, 2), "the third, and the fourth unless it was on its way by then"
    assert fetched(store, large, tmp_path / "back") == large.read_bytes()


def test_parts_of_another_content_are_not_taken_for_ours(
    store: Store, faulty: Storage, large: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    faulty.fate = always(lambda asked: asked.method == "POST" and "uploadId" in asked.query, Fault(403, "AccessDenied"))
    with pytest.raises(Refused):
        sent(store, written(tmp_path / "other", LARGE), pool)
    faulty.fate = lambda asked: None
    sent(store, large, pool)
    assert fetched(store, large, tmp_path / "back") == large.read_bytes()


def test_an_upload_whose_last_answer_was_lost_is_found_done(
    store: Store, faulty: Storage, large: Path, pool: ThreadPoolExecutor
) -> None:
    faulty.fate = first(1, lambda asked: asked.method == "POST" and "uploadId" in asked.query, Fault(lost=True))
    sent(store, large, pool)
    assert faulty.keys(store.place.bucket) == ["runs/one/a/b"]


def test_a_bit_flipped_on_the_way_up_is_sent_again(
    store: Store, faulty: Storage, file: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    faulty.fate = first(2, Asked.puts, Fault(flips="up"))
    sent(store, file, pool)
    assert fetched(store, file, tmp_path / "back") == file.read_bytes()


def test_a_file_that_has_changed_since_its_manifest_is_not_sent(
    store: Store, faulty: Storage, file: Path, pool: ThreadPoolExecutor
) -> None:
    with pytest.raises(Damaged, match="changed since it was made"):
        upload(store, "a/b", file, "0" * 64, pool)
    assert faulty.asked == []


def test_a_download_that_is_cut_goes_on_where_it_was(
    store: Store, faulty: Storage, large: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    sent(store, large, pool)
    faulty.asked.clear()
    faulty.fate = first(1, Asked.gets, Fault(cut_after=50_000))
    assert fetched(store, large, tmp_path / "back") == large.read_bytes()
    starts = [int(a.headers["Range"].removeprefix("bytes=").partition("-")[0]) for a in faulty.asked if a.gets()]
    assert starts == sorted(starts) and len(starts) == 5 and 0 < starts[1] <= 50_000


def test_an_interrupted_download_goes_on_in_another_process(
    store: Store, faulty: Storage, large: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    sent(store, large, pool)
    faulty.fate = always(
        lambda asked: f"bytes={2 * PART}" in asked.headers.get("Range", ""), Fault(403, "AccessDenied")
    )
    with pytest.raises(Refused):
        fetched(store, large, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    faulty.fate = lambda asked: None
    faulty.asked.clear()
    assert fetched(store, large, tmp_path / "back") == large.read_bytes()
    assert faulty.count(Asked.gets) == 2
    fetched(store, large, tmp_path / "back")
    assert faulty.count(Asked.gets) == 2, "what is here already is not fetched again"


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_bit_flipped_on_the_way_down_is_fetched_again_and_one_flipped_there_is_told(
    store: Store, faulty: Storage, size: int, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    file = written(tmp_path / "file", size)
    sent(store, file, pool)
    faulty.fate = first(1, Asked.gets, Fault(flips="down"))
    assert fetched(store, file, tmp_path / "back") == file.read_bytes()
    faulty.fate = always(Asked.gets, Fault(flips="down"))
    with pytest.raises(Damaged, match=r"s3://bucket-\d+/runs/one/a/b is damaged in the storage"):
        fetched(store, file, tmp_path / "again")
    assert not (tmp_path / "again").exists()

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import moto.s3.models
import pytest

from naruto_add.storage import s3, transfer
from naruto_add.storage.s3 import Patience, Place, Store
from tests.faults import Storage, storage

QUICK = Patience(seconds=30, first_s=0.01, longest_s=0.05)
PART = 2**16
SECRET = "very-secret"
NUMBERS = count()


@pytest.fixture(scope="session")
def server() -> Iterator[Storage]:
    """A real S3 server behind the proxy that injects faults."""
    with storage() as found:
        s3.client.cache_clear()
        yield found
    s3.client.cache_clear()


@pytest.fixture
def faulty(server: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Storage:
    """The server as boto3 finds it, no fault planned yet; files over 64 KiB are large."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setattr(transfer, "PART_BYTES", PART)
    monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", PART)
    server.fate = lambda asked: None
    return server


@pytest.fixture
def own_client() -> Iterator[None]:
    """For tests that change what clients are made of: none of an earlier test's, none left for later ones."""
    s3.client.cache_clear()
    yield
    s3.client.cache_clear()


@pytest.fixture
def bucket(faulty: Storage) -> str:
    """A new and empty bucket."""
    name = f"bucket-{next(NUMBERS)}"
    faulty.s3.create_bucket(Bucket=name)
    faulty.asked.clear()
    return name


@pytest.fixture
def store(bucket: str) -> Store:
    """A prefix of it, with little patience."""
    return Store(Place(bucket, "runs/one/"), QUICK)

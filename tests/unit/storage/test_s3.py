from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from naruto_add.errors import UserError
from naruto_add.storage import s3
from naruto_add.storage.s3 import Interrupted, Patience, Place, Refused, Store, parse
from naruto_add.storage.transfer import put
from tests.faults import Fault, Storage, always, first
from tests.unit.storage.conftest import QUICK, SECRET

ANY = lambda asked: True  # noqa: E731


def test_a_uri_names_a_bucket_and_a_prefix() -> None:
    assert parse("s3://b") == parse("s3://b/") == Place("b", "")
    assert parse("s3://b/runs/one") == parse("s3://b/runs/one/") == Place("b", "runs/one/")
    assert parse("s3://b/runs/one").uri == "s3://b/runs/one/"
    with pytest.raises(UserError, match=r"data\.source s3:// names no bucket"):
        parse("s3://", setting="data.source")


@pytest.mark.parametrize("fault", [Fault(500), Fault(503, "SlowDown"), Fault(400, "RequestTimeout"), Fault(lost=True)])
def test_what_passes_is_tried_again(store: Store, faulty: Storage, fault: Fault) -> None:
    faulty.fate = first(3, ANY, fault)
    put(store, "a", b"content")
    assert len(faulty.asked) == 4
    assert store.read("a") == b"content" and store.read("b") is None


@pytest.mark.usefixtures("own_client")
def test_an_answer_that_is_cut_or_takes_too_long_is_asked_for_again(
    store: Store, faulty: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"content")
    faulty.fate = first(2, ANY, Fault(cut_after=3))
    assert store.read("a") == b"content"
    monkeypatch.setattr(s3, "READ_S", 0.5)
    s3.client.cache_clear()
    faulty.fate = first(1, ANY, Fault(wait_s=1.0))
    assert store.read("a") == b"content"


@pytest.mark.usefixtures("own_client")
def test_a_storage_that_is_down_is_given_up_and_the_user_told_that_nothing_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    brief = replace(store, patience=Patience(seconds=0.2, first_s=0.02))
    with pytest.raises(UserError, match=r"no answer for 0 s \(EndpointConnectionError\).*the same command goes on"):
        put(brief, "a", b"")


@pytest.mark.usefixtures("own_client")
def test_an_endpoint_that_is_no_url_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    with pytest.raises(UserError, match="is no URL: write it like"):
        store.sizes()


def test_waits_double_up_to_a_limit_and_are_cut_at_random() -> None:
    patience = Patience(first_s=1, longest_s=8)
    waits = [[patience.wait_s(attempt) for _ in range(300)] for attempt in (0, 1, 2, 50)]
    assert [round(max(some)) for some in waits] == [1, 2, 4, 8]
    assert all(min(some) < 0.1 * max(some) for some in waits)


def test_a_transfer_can_be_told_to_stop_while_it_waits(store: Store, faulty: Storage) -> None:
    faulty.fate = always(ANY, Fault(503))
    patient = replace(store, patience=Patience(seconds=60, first_s=30, longest_s=30))
    threading.Timer(0.1, patient.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        patient.sizes()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(403, "ExpiredToken"), "have expired: renew them, then the same command goes on"),
        (Fault(403, "AccessDenied"), "access is denied"),
        (Fault(403, "InvalidAccessKeyId"), "access is denied"),
        (Fault(400, "WhatIsThis"), "it refuses: check its name"),
    ],
)
def test_a_refusal_is_told_at_once_without_secrets(store: Store, faulty: Storage, fault: Fault, told: str) -> None:
    faulty.fate = always(ANY, fault)
    with pytest.raises(Refused, match=told) as refused:
        put(store, "a", b"")
    assert refused.value.code == fault.code and SECRET not in str(refused.value)
    assert len(faulty.asked) == (2 if fault.code == "ExpiredToken" else 1)


def test_a_bucket_that_is_not_there_is_told(faulty: Storage) -> None:
    with pytest.raises(Refused, match=r"s3://nowhere/x/: there is no such bucket.*NoSuchBucket"):
        Store(Place("nowhere", "x/"), QUICK).sizes()


@pytest.mark.usefixtures("own_client")
def test_missing_credentials_are_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(Refused, match="no usable credentials: boto3 looks for them in the environment"):
        store.sizes()


@pytest.mark.usefixtures("own_client")
def test_credentials_that_somebody_renews_while_we_work_are_taken(
    store: Store, faulty: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def credentials(name: str) -> None:
        keys = f"aws_access_key_id = {name}\naws_secret_access_key = x\naws_session_token = y\n"
        (tmp_path / "credentials").write_text(f"[default]\n{keys}", encoding="utf-8")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    faulty.fate = always(lambda asked: "=OLD/" in asked.headers["Authorization"], Fault(403, "ExpiredToken"))
    credentials("OLD")
    with pytest.raises(Refused):
        store.sizes()
    credentials("NEW")
    assert store.sizes() == {}


def test_many_objects_are_listed(store: Store, faulty: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    for number in range(3):
        put(store, f"some/{number}", b"x" * number)
    put(store, "others", b"")
    assert store.sizes("some/") == {f"some/{number}": number for number in range(3)}
    store.delete("some/1")
    assert set(store.sizes()) == {"some/0", "some/2", "others"}


def test_a_round_trip_leaves_nothing(store: Store, faulty: Storage) -> None:
    assert s3.round_trip(store, b"there and back") == b"there and back"
    assert faulty.keys(store.place.bucket) == []
    (written,) = [asked.key for asked in faulty.asked if asked.puts()]
    assert re.fullmatch(r".*/runs/one/\.naruto-add-[0-9a-f]{16}", written)

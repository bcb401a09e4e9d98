from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naruto_add.errors import UserError
from serve.auth import Keys, check_exposure, hashed, new_key, read_hashes
from serve.errors import ApiError
from serve.limits import BodyLimit, RateLimit
from serve.studio import Studio
from tests.unit.serve.conftest import client_of

URL = "/v1/images/generations"


class Clock:
    """Time that passes when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_key_may_spend_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    limit = RateLimit(60, clock)
    assert [limit.take("a", 1) for _ in range(11)] == [*[0] * 10, 1]
    assert limit.take("b", 1) == 0, "another key has its own"
    clock.now += 1
    assert limit.take("a", 1) == 0


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 4)), max_size=200))
def test_no_one_gets_more_than_burst_and_rate(asked: list[tuple[float, int]]) -> None:
    clock = Clock()
    limit, got, began = RateLimit(120, clock), 0, clock.now
    for pause, pictures in asked:
        clock.now += pause
        wait_s = limit.take("a", pictures)
        if wait_s:
            clock.now += wait_s
            assert limit.take("a", pictures) == 0, "Retry-After was not the truth"
        got += pictures
        assert got <= 20 + (clock.now - began) * 2 + 1e-6


def test_more_than_a_burst_at_once_is_possible_and_leaves_a_debt() -> None:
    clock = Clock()
    limit = RateLimit(6, clock)
    assert limit.take("a", 4) == 0
    assert limit.take("a", 1) == 40


def test_a_rate_of_nothing_is_no_limit_and_the_smallest_still_lets_one_pass() -> None:
    clock = Clock()
    free, least = RateLimit(0, clock), RateLimit(3, clock)
    assert {free.take("a", 1000) for _ in range(3)} == {0}
    assert [least.take("a", 1), least.take("a", 1)] == [0, 20]
    clock.now += 1000
    assert [least.take("a", 1), least.take("a", 1)] == [0, 20], "an allowance grows to one burst, not beyond"
    assert RateLimit(60).take("a", 1) == 0, "with this machine's clock"


@dataclass
class Call:
    """A request to an application behind a limit of 8 bytes: what it was given to read, and what was answered."""

    sends: Sequence[dict[str, Any]]
    headers: Sequence[tuple[bytes, bytes]] = ()
    type: str = "http"
    method: str = "POST"
    read: int = 0
    got: list[Any] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope is self.scope and send == self.send
        self.got += [await receive() for _ in range(2)]

    async def receive(self) -> dict[str, Any]:
        if self.read == len(self.sends):
            await asyncio.sleep(60)
        self.read += 1
        return self.sends[self.read - 1]

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def made(self, timeout_s: float = 30) -> Call:
        self.scope = {"type": self.type, "method": self.method, "headers": list(self.headers), "state": {}}
        asyncio.run(BodyLimit(self.app, 8, timeout_s)(self.scope, self.receive, self.send))
        return self

    def refusal(self) -> tuple[int, str, str]:
        assert not self.got, "it was passed on"
        error = json.loads(self.sent[1]["body"])["error"]
        assert self.scope["state"] == {"rejected": error["code"]}
        return self.sent[0]["status"], error["code"], error["message"]


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"8")], [(b"content-length", b"-9")]])
def test_a_body_of_the_full_length_is_passed_on_whole(headers: list[tuple[bytes, bytes]]) -> None:
    call = Call([part(b"1234"), {"type": "http.request", "more_body": True}, part(b"5678", more=False), GONE], headers)
    assert call.made().got == [part(b"12345678", more=False), GONE] and not call.sent
    assert Call([part(b"1"), GONE, GONE]).made().got == [part(b"1", more=False), GONE], "a client that left"


def test_a_byte_more_is_refused_as_soon_as_it_is_there_or_announced() -> None:
    too_long = (413, "body_too_large", "The body is longer than 8 bytes.")
    arrived = Call([part(b"1234"), part(b"56789"), part(b"", more=False)]).made()
    assert arrived.refusal() == too_long and arrived.read == 2
    announced = Call([part(b"1", more=False)], [(b"content-length", b"9")]).made()
    assert announced.refusal() == too_long and announced.read == 0


def test_a_body_that_stays_away_is_refused() -> None:
    slow = Call([part(b"1")]).made(timeout_s=0.05)
    assert slow.refusal() == (408, "body_too_slow", "The body did not arrive within 0.05 s.")


@pytest.mark.parametrize(
    ("kind", "method"), [("http", "GET"), ("http", "HEAD"), ("http", "OPTIONS"), ("lifespan", "POST")]
)
def test_what_has_no_body_is_not_read(kind: str, method: str) -> None:
    messages = [part(b"123456789"), GONE]
    assert Call(messages, type=kind, method=method).made().got == messages


def test_keys_are_stored_as_hashes_and_told_apart() -> None:
    key, other = new_key(), new_key()
    keys = Keys((hashed(other), hashed(key)))
    assert keys.caller(f"Bearer {key}") == keys.caller(f"bearer  {key} ") == hashed(key)[:12]
    for wrong in (None, "", key, f"Basic {key}", f"Bearer {key}x", "Bearer ", "Bearer \udcff"):
        with pytest.raises(ApiError) as refused:
            keys.caller(wrong)
        assert refused.value.status == 401 and key not in refused.value.message
    assert Keys(()).caller(None) == "anyone"


def test_a_file_of_hashes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n{hashed('a')} for the phone\n\n{hashed('b')}\n")
    assert read_hashes(path) == (hashed("a"), hashed("b"))
    path.write_text(f"{hashed('a')}\nsk-naruto-plain\n")
    with pytest.raises(UserError, match="keys:2: not a sha256"):
        read_hashes(path)
    path.write_text("\n")
    with pytest.raises(UserError, match="holds no key"):
        read_hashes(path)


def test_no_one_is_exposed_without_keys() -> None:
    check_exposure("127.0.0.1", ())
    check_exposure("0.0.0.0", (hashed("a"),))
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(UserError, match="keys-file"):
            check_exposure(host, ())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def guarded(studio: Studio) -> Iterator[Studio]:
    """The same models behind keys, nine pictures a minute each (a burst of 1.5), and for one origin's pages."""
    settings = replace(
        studio.settings, keys=(hashed("one"), hashed("two")), requests_per_minute=9, cors_origins=("https://a.example",)
    )
    made = Studio(settings)
    made.abilities, made._engine = studio.abilities, studio._engine
    yield made


@pytest.fixture
async def client(guarded: Studio) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(guarded) as opened:
        yield opened


@pytest.mark.anyio
async def test_without_a_key_only_health_and_the_page_answer(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/health/live", "/health/ready"):
        assert (await client.get(path)).status_code == 200
    for path in (
        "/v1/models",
        "/metrics",
        "/version",
        "/docs",
        "/openapi.json",
        "/nope",
        "/health",
        "/%2e%2e/metrics",
    ):
        refused = await client.get(path)
        assert refused.status_code == 401 and refused.json()["error"]["type"] == "authentication_error", path
        assert refused.headers["www-authenticate"] == "Bearer"
    assert (await client.get("/metrics", headers={"Authorization": "Bearer one"})).status_code == 200


@pytest.mark.anyio
async def test_a_body_is_not_even_read_without_a_key(client: httpx2.AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    assert (await client.post(URL, content=unread())).status_code == 401


@pytest.mark.anyio
async def test_each_key_has_its_allowance(client: httpx2.AsyncClient) -> None:
    body, one, two = {"prompt": "x", "steps": 1}, {"Authorization": "Bearer one"}, {"Authorization": "Bearer two"}
    assert (await client.post(URL, json=body, headers=one)).status_code == 200
    refused = await client.post(URL, json=body, headers=one)
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 4
    assert (await client.post(URL, json=body, headers=two)).status_code == 200
    metrics = (await client.get("/metrics", headers=one)).text
    assert 'naruto_add_rejections_total{reason="rate_limit_exceeded",replica="0"} 1.0' in metrics


@pytest.mark.anyio
async def test_pages_of_named_origins_only_may_call(client: httpx2.AsyncClient) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = await client.options(URL, headers={"Origin": "https://a.example", **asks})
    assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == "https://a.example"
    denied = await client.options(URL, headers={"Origin": "https://b.example", **asks})
    assert "access-control-allow-origin" not in denied.headers

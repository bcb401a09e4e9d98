"""The door lets in about as many as the copies take, refuses the rest itself, and cannot be kept shut from outside."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.door import CALM_S, PATH, REFUSED, Door, Tally, middlewares
from serve.errors import ApiError
from serve.metrics import Metrics

pytestmark = pytest.mark.anyio
HEAVY, LIGHT = b'{"n": 2}', b"{}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Copies:
    """An application with so many places, which are taken for some event loop's turns; it counts what it is asked."""

    places: int
    kind: bytes = b"application/json"
    busy: int = 0
    asked: Counter[int] = field(default_factory=Counter)
    told: list[int] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.told.append(int(dict(scope["headers"]).get(REFUSED, b"-1")))
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        wanted = 2 if message["body"] == HEAVY else 1
        if self.busy + wanted > self.places:
            self.asked[429] += 1
            refusal = ApiError(429, "Full.", code="queue_full", retry_s=0.5, full=wanted == 1)
            await refusal.response()(scope, receive, send)
            return
        self.busy += wanted
        await self.go_on.wait()
        self.busy -= wanted
        self.asked[200] += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.kind)]})
        await send({"type": "http.response.body", "body": b"drawn"})


@dataclass
class Answered:
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


async def ask(app: ASGIApp, *bodies: bytes, path: str = PATH, headers: dict[bytes, bytes] | None = None) -> Answered:
    """A request whose body comes in these pieces; without any it never comes."""
    answer, left = Answered(), list(bodies)

    async def receive() -> Message:
        if not left:
            await asyncio.sleep(3600)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], dict(message["headers"])
        else:
            answer.body += message["body"]

    scope = {"type": "http", "method": "POST", "path": path, "headers": list((headers or {}).items())}
    await app(scope, receive, send)
    return answer


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def crowd(door: Door, count: int) -> list[asyncio.Task[Answered]]:
    """So many requests, one after another, as far as they get."""
    asked = []
    for _ in range(count):
        asked.append(asyncio.create_task(ask(door, LIGHT)))
        await settle()
    return asked


async def test_a_full_copy_is_not_asked_again_and_the_refusal_is_a_copy_s() -> None:
    copies = Copies(3)
    door = Door(copies)
    asked = await crowd(door, 50)
    assert copies.asked == {429: 1}, "one refusal tells the door"
    copies.go_on.set()
    answers = [await each for each in asked]
    assert Counter(answer.status for answer in answers) == {200: 3, 429: 47}
    for answer in answers[3:]:
        error = json.loads(answer.body)["error"]
        assert error["code"] == "queue_full" and error["type"] == "rate_limit_error"
        assert int(answer.headers[b"retry-after"]) >= 1
        assert b"retry-after-ms" in answer.headers


async def test_places_that_appear_are_found_and_every_one_is_used() -> None:
    copies = Copies(2)
    door = Door(copies)
    await crowd(door, 10)
    copies.places = 8  # another copy has come
    for _ in range(40):
        copies.go_on.set()
        await settle()
        copies.go_on.clear()
        await crowd(door, 12)
    assert copies.busy == 8
    assert copies.asked[429] < 0.2 * copies.asked[200]
    copies.go_on.set()


async def test_after_a_calm_while_nothing_is_refused() -> None:
    now = [0.0]
    copies = Copies(1)
    door = Door(copies, clock=lambda: now[0])
    await crowd(door, 5)
    assert copies.asked[429] == 1
    now[0] += CALM_S
    await crowd(door, 1)
    assert copies.asked[429] == 2, "a copy was asked"
    copies.go_on.set()


async def test_who_is_refused_is_told_when_the_first_should_be_answered() -> None:
    now, copies = [0.0], Copies(1)
    door = Door(copies, clock=lambda: now[0])
    await crowd(door, 2)

    async def told_s() -> float:
        answer = await ask(door, LIGHT)
        assert answer.status == 429
        return int(answer.headers[b"retry-after-ms"]) / 1e3

    now[0] = 0.2
    assert 0.96 <= await told_s() <= 1.6 + 1e-3, "until it has seen one, an answer takes a second"
    now[0] = 0.9
    assert 0.6 <= await told_s() <= 1.0 + 1e-3, "and never less than half of that"
    for _ in range(30):  # answers that take a tenth of a second
        copies.go_on.set()
        await settle()
        copies.go_on.clear()
        now[0] += CALM_S
        await crowd(door, 2)
        now[0] += 0.1
    assert 0.3 <= await told_s() < 0.5, "half of what the copy said"
    copies.kind = b"text/event-stream"
    for _ in range(30):  # which begin at once
        copies.go_on.set()
        await settle()
        copies.go_on.clear()
        now[0] += CALM_S
        await crowd(door, 2)
    assert door._usual_s == pytest.approx(0.1, rel=0.1)
    copies.go_on.set()


@pytest.mark.parametrize("bodies", [(), (b"{", b"}")], ids=["no body", "in pieces"])
async def test_slow_bodies_take_no_place_at_the_door(bodies: tuple[bytes, ...]) -> None:
    copies = Copies(2)
    door = Door(copies)
    await crowd(door, 5)
    copies.go_on.set()
    await settle()
    slow = [asyncio.create_task(ask(door, *bodies)) for _ in range(20)]
    await asyncio.sleep(0.1)
    assert (await ask(door, LIGHT)).status == 200
    for each in slow:
        each.cancel()


async def test_a_request_for_several_pictures_shuts_it_for_nobody_else() -> None:
    copies = Copies(2)
    door = Door(copies)
    [first] = await crowd(door, 1)
    assert (await ask(door, HEAVY)).status == 429
    [second] = await crowd(door, 1)
    copies.go_on.set()
    assert (await first).status == (await second).status == 200


async def test_whoever_leaves_and_whatever_breaks_is_counted_off() -> None:
    copies = Copies(1)
    door = Door(copies)
    [first, *_] = await crowd(door, 3)
    first.cancel()
    await settle()
    copies.busy = 0
    copies.go_on.set()
    assert (await ask(door, LIGHT)).status == 200


async def test_other_paths_and_browsers_pass_a_shut_door() -> None:
    copies = Copies(1)
    door = Door(copies)
    await crowd(door, 3)
    before = copies.asked[429]
    assert (await ask(door, LIGHT, headers={b"origin": b"https://else.where"})).status == 429
    assert (await ask(door, LIGHT, path="/v1/other")).status == 429
    assert copies.asked[429] == before + 2
    copies.go_on.set()


async def test_refusals_at_the_door_are_in_the_metrics_once_and_cannot_be_invented() -> None:
    copies, metrics = Copies(1), Metrics()
    door = Door(Tally(copies, metrics))
    await crowd(door, 10)
    copies.go_on.set()
    await settle()
    await ask(door, LIGHT, headers={REFUSED: b"1000000"})
    await ask(door, LIGHT, path="/health/live", headers={REFUSED: b"1000000"})
    assert copies.told[0] == 0 and copies.told.count(8) == 1
    assert metrics.registry.get_sample_value("naruto_add_rejections_total", {"reason": "queue_full"}) == 8
    counted: Callable[..., Any] = metrics.registry.get_sample_value
    assert counted("naruto_add_requests_total", {"path": PATH, "status": "429"}) == 8


def test_ray_is_given_the_door() -> None:
    [one] = middlewares()
    made: Any = one.cls
    assert isinstance(made(Copies(1)), Door)

"""Limits that hold before any work is done: the size of a body, and how much one key may ask for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import ApiError


class BodyLimit:
    """Refuses bodies of more than `max_bytes`, counted as they arrive: what Content-Length says is not believed; and
    such as take longer than `timeout_s` to arrive.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self.app, self.max_bytes, self.timeout_s = app, max_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body whole, then pass it on; 413 as soon as it is too long, 408 when it has taken too long."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.timeout_s):
                body = await self._read(scope, receive)
        except TimeoutError:
            text = f"The body did not arrive within {self.timeout_s:g} s."
            await self._refuse(ApiError(408, text, code="body_too_slow"), scope, receive, send)
        except ApiError as refusal:
            await self._refuse(refusal, scope, receive, send)
        else:
            await self.app(scope, after({"type": "http.request", "body": body, "more_body": False}, receive), send)

    async def _refuse(self, refusal: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["rejected"] = refusal.code
        await refusal.response()(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The body; raises ApiError 413 if it is too long."""
        declared = dict(scope["headers"]).get(b"content-length", b"")
        too_long = ApiError(413, f"The body is longer than {self.max_bytes} bytes.", code="body_too_large")
        if declared.isdigit() and int(declared) > self.max_bytes:
            raise too_long
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                raise too_long
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return bytes(body)


def after(first: Message, receive: Receive) -> Receive:
    """A `receive` that gives this message, then what `receive` gives: after a whole body it waits for the client to
    leave, as the real one does.
    """
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return first

    return again


@dataclass
class Bucket:
    """What is left of a caller's allowance, and when that was so."""

    tokens: float
    at: float


class RateLimit:
    """A token bucket a caller: `per_minute` pictures a minute, a sixth of them at once; 0: no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second, self.burst = per_minute / 60, max(1.0, per_minute / 6)
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def take(self, caller: str, pictures: int) -> int:
        """Take `pictures` out of the caller's bucket: 0, or in how many seconds there is enough again.

        A request for more than a burst needs a full bucket and leaves a debt, so that no request is impossible.
        """
        if not self.per_second:
            return 0
        now = self._clock()
        bucket = self._buckets.setdefault(caller, Bucket(self.burst, now))
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * self.per_second)
        bucket.at = now
        missing = min(pictures, self.burst) - bucket.tokens
        if missing > 1e-9:
            return math.ceil(missing / self.per_second)
        bucket.tokens -= pictures
        return 0

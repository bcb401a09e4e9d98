"""The door before all copies, in Ray's proxy: while they are full it refuses, and no copy is asked.

A refusal by a copy goes through the proxy, Ray and the copy's event loop and back, and ten times too many of them take
the processor from drawing. So the door learns how many requests may be unanswered at a time: no more than were so when
a copy last refused one, and one more for every round of answers, as TCP finds out what a line carries. It knows nothing
of the copies but their answers. `serve.deployment` has Ray load it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import FULL, RETRY_MS, ApiError
from serve.limits import after
from serve.logs import LOGGER
from serve.metrics import Metrics

PATH = "/v1/images/generations"
REFUSED = b"x-naruto-add-refused"
"""The request header that tells a copy how many were refused at the door since the last one that was let in."""
VARIABLE, CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "serve.door:middlewares"
"""The variable that Ray's proxy reads, and what it has to say there."""
BODY_S = 0.05
"""How long the door waits for a body. Slower ones are let in uncounted, or a few would keep it shut: copies have limits
for them."""
CALM_S = 1.0
"""After so long without a refusal there is no limit."""
STREAM = b"text/event-stream"
RECENT = 0.2
"""Weight of the newest answer in what is usual."""


def middlewares() -> list[Middleware]:
    """What Ray's proxy puts before itself."""
    return [Middleware(Door)]


def asks_for_pictures(scope: Scope) -> bool:
    """Whether it is a request that a full copy refuses."""
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == PATH


class Door:
    """Counts requests for pictures from the last byte of the body to the first of the answer, so that no client can
    stretch that.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self.app, self._clock = app, clock
        self._since: dict[object, float] = {}
        """When each request that is still unanswered was let in."""
        self._most = 0.0
        self._full_at = float("-inf")
        self._usual_s = 1.0
        self._told_s = 0.0
        self._refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request for pictures while the copies are full; pass on whatever else there is."""
        if not asks_for_pictures(scope):
            await self.app(scope, receive, send)
            return
        try:
            first = await asyncio.wait_for(receive(), BODY_S)
        except TimeoutError:
            await self.app(self._announced(scope), receive, send)
            return
        if first.get("more_body"):
            await self.app(self._announced(scope), after(first, receive), send)
        elif self._shut(scope):
            await self._refuse(scope, receive, send)
        else:
            await self._let_in(scope, after(first, receive), send)

    def _shut(self, scope: Scope) -> bool:
        """Whether the copies are full, as far as is known. Browsers are let in: only copies know what CORS allows."""
        recent = self._clock() - self._full_at < CALM_S
        return recent and len(self._since) >= int(self._most) and all(name != b"origin" for name, _ in scope["headers"])

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As a copy would: come back some time after who asked first should have an answer, and not all together."""
        self._refused += 1
        self._full_at = now = self._clock()
        free_s = min(self._since.values(), default=now) + self._usual_s - now
        seconds = max(free_s, self._usual_s / 2, self._told_s / 2) * random.uniform(1.2, 2.0)
        text = f"All places are taken. Try again in {seconds:.1f} s."
        await ApiError(429, text, code="queue_full", retry_s=seconds).response()(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and learn from its answer."""
        request = object()
        self._since[request] = self._clock()

        async def listening(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._learn(message, self._clock() - self._since.pop(request))
            await send(message)

        try:
            await self.app(self._announced(scope), receive, listening)
        finally:
            self._since.pop(request, None)

    def _learn(self, answer: Message, seconds: float) -> None:
        """From the start of an answer and how long it took."""
        headers = dict(answer.get("headers", ()))
        if FULL in headers:
            self._full_at = self._clock()
            self._most = max(1.0, len(self._since))
            self._told_s = int(headers.get(RETRY_MS, b"0")) / 1e3
        elif answer["status"] == 200:
            if not headers.get(b"content-type", b"").startswith(STREAM):  # which begins before anything is drawn
                self._usual_s += RECENT * (seconds - self._usual_s)
            if self._most:
                self._most += 1 / self._most

    def _announced(self, scope: Scope) -> Scope:
        """A request that tells how many were refused; what a client says there is not passed on."""
        told, self._refused = self._refused, 0
        kept = [(name, value) for name, value in scope["headers"] if name != REFUSED]
        return {**scope, "headers": [*kept, (REFUSED, b"%d" % told)]}


class Tally:
    """In a copy behind a door: puts what was refused there into log and metrics."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count, then serve the request."""
        told = int(dict(scope["headers"]).get(REFUSED, b"0")) if asks_for_pictures(scope) else 0
        if told:
            self.metrics.requests.labels(PATH, "429").inc(told)
            self.metrics.rejections.labels("queue_full").inc(told)
            LOGGER.info("refused at the door", extra={"values": {"path": PATH, "requests": told}})
        await self.app(scope, receive, send)

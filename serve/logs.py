"""One JSON line a request, with an id that the client gets back in X-Request-Id and may choose itself."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from naruto_add.artifact import sha256_text
from serve.metrics import Metrics

LOGGER = logging.getLogger("naruto_add.serve")
HEADER = b"x-request-id"
WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
PATHS = ("/v1/images/generations", "/v1/images/results", "/v1/models", "/health", "/metrics", "/version", "/docs")
"""Paths that have a label of their own in the metrics; all others share one, so that nobody can invent labels."""


class JsonLines(logging.Formatter):
    """A record as one JSON object; an exception as its traceback, for us alone."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        values: dict[str, Any] = {"time": round(record.created, 3), "level": record.levelname.lower()}
        values |= {"event": record.getMessage(), **getattr(record, "values", {})}
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=True)


def configure(path: str | None = None) -> None:
    """Write our lines to a file, or to stderr, once, and nowhere else."""
    if not LOGGER.handlers:
        handler = logging.StreamHandler(sys.stderr) if path is None else logging.FileHandler(path, encoding="utf-8")
        handler.setFormatter(JsonLines())
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def about_prompt(prompt: str, whole: bool) -> dict[str, Any]:
    """What the log says of a prompt: its length and hash, itself only where the operator asked for it."""
    said = {"prompt_chars": len(prompt), "prompt_sha256": sha256_text(prompt)[:16]}
    return said | ({"prompt": prompt} if whole else {})


class RequestLog:
    """Gives each request its id, and tells log and metrics how it went."""

    def __init__(self, app: ASGIApp, metrics: Metrics, echo_id: bool = True) -> None:
        self.app, self.metrics, self.echo_id = app, metrics, echo_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request and write its line."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = dict(scope["headers"]).get(HEADER, b"")
        name = asked if WELL_FORMED.fullmatch(asked) else uuid.uuid4().hex.encode()
        began, status = time.perf_counter(), 0
        scope.setdefault("state", {})["request_id"] = name.decode()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.echo_id:
                    message["headers"] = [*message.get("headers", ()), (HEADER, name)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:  # the last gate: the client has its 500 by now, the log gets the traceback
            LOGGER.exception("bug", extra={"values": {"request_id": name.decode()}})
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """`status` 0: the client left before there was an answer; nginx counts that as 499, so do we."""
        state, path = scope["state"], label(scope["path"])
        code = status or 499
        self.metrics.requests.labels(path, str(code)).inc()
        self.metrics.latency.labels(path).observe(seconds)
        if code in (401, 408, 413, 429, 503, 504):
            self.metrics.rejections.labels(state.get("rejected") or str(code)).inc()
        if path in ("/health", "/metrics") and code < 400:
            return  # asked every few seconds by machines
        values = {"request_id": state["request_id"], "method": scope["method"], "path": path, "status": code}
        values |= {"ms": round(seconds * 1e3, 1), **state.get("about", {})}
        LOGGER.info("request", extra={"values": values})


def label(path: str) -> str:
    """The path's label in the metrics."""
    return "/" if path == "/" else next((known for known in PATHS if path.startswith(known)), "other")

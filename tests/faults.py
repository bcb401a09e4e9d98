"""A real S3 server behind a proxy that does what networks and storages do: fail, dawdle, cut, garble, refuse.

The proxy also checks the sha256 that requests carry, as S3 does and moto's server does not.
"""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import boto3
from moto.server import ThreadedMotoServer

HOPS = ("connection", "transfer-encoding", "content-length", "host", "expect")


@dataclass(frozen=True)
class Asked:
    """A request: what for, and with which words."""

    method: str
    key: str
    """With the bucket's name."""
    query: str
    headers: dict[str, str]

    def puts(self, text: str = "") -> bool:
        """Whether it sends an object, or a part of one, whose key contains the text."""
        return self.method == "PUT" and text in self.key

    def gets(self, text: str = "") -> bool:
        """Whether it fetches an object whose key contains the text."""
        return self.method == "GET" and text in self.key and "list-type" not in self.query


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    status: int = 0
    """Answered with this, and `code`, by the proxy itself."""
    code: str = "InternalError"
    wait_s: float = 0.0
    cut_after: int | None = None
    """The connection is cut after so many bytes of the answer's body."""
    lost: bool = False
    """The server does it, but its answer never arrives."""
    flips: str = ""
    """`up` or `down`: a bit of the body is flipped on that way."""


Fate = Callable[[Asked], Fault | None]


@dataclass
class Storage:
    """The server and its proxy."""

    url: str
    server: str
    asked: list[Asked] = field(default_factory=list)
    fate: Fate = lambda asked: None

    @cached_property
    def s3(self):
        """A client that goes past the proxy, as the judge of what is there."""
        return boto3.session.Session().client("s3", endpoint_url=self.server)

    def keys(self, bucket: str) -> list[str]:
        """All objects of a bucket."""
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=bucket).get("Contents", ())]

    def count(self, test: Callable[[Asked], bool]) -> int:
        """How many requests were of a kind."""
        return sum(map(test, self.asked))


def first(times: int, test: Callable[[Asked], bool], fault: Fault) -> Fate:
    """The fault for the first so many requests of a kind."""
    seen = 0

    def fate(asked: Asked) -> Fault | None:
        nonlocal seen
        seen += test(asked)
        return fault if test(asked) and seen <= times else None

    return fate


def always(test: Callable[[Asked], bool], fault: Fault) -> Fate:
    """The fault for every request of a kind."""
    return lambda asked: fault if test(asked) else None


@contextmanager
def storage() -> Iterator[Storage]:
    """An S3 server and its proxy, on free ports, until the end of the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    proxy.behind = server.get_host_and_port()  # type: ignore[attr-defined]
    host, port = proxy.behind  # type: ignore[attr-defined]
    proxy.storage = Storage(f"http://127.0.0.1:{proxy.server_port}", f"http://{host}:{port}")  # type: ignore[attr-defined]
    Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield proxy.storage  # type: ignore[attr-defined]
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()


class Handler(BaseHTTPRequestHandler):
    """One connection to the proxy."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Pass a request on, or let its fate happen."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path)
        asked = Asked(self.command, unquote(path.path).lstrip("/"), path.query, dict(self.headers))
        state: Storage = self.server.storage  # type: ignore[attr-defined]
        state.asked.append(asked)
        fault = state.fate(asked) or Fault()
        time.sleep(fault.wait_s)
        if fault.status:
            self.refuse(fault.status, fault.code)
            return
        body = flipped(body) if fault.flips == "up" else body
        promised = self.headers.get("x-amz-checksum-sha256")
        if promised and promised != b64encode(hashlib.sha256(body).digest()).decode():
            self.refuse(400, "BadDigest")
            return
        self.pass_on(body, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def refuse(self, status: int, code: str) -> None:
        """An error as S3 puts it."""
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def pass_on(self, body: bytes, fault: Fault) -> None:
        """Ask the server and give its answer back, as far as fate allows."""
        connection = HTTPConnection(*self.server.behind)  # type: ignore[attr-defined]
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOPS}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault.lost:
            self.close_connection = True
            return
        self.answer(answer, flipped(content) if fault.flips == "down" else content, fault.cut_after)

    def answer(self, answer: HTTPResponse, content: bytes, cut_after: int | None) -> None:
        """Give an answer back, at most `cut_after` bytes of its body."""
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOPS:
                self.send_header(name, value)
        size = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", size)
        self.end_headers()
        self.wfile.write(content[:cut_after])
        if cut_after is not None and cut_after < len(content):
            self.close_connection = True


def flipped(content: bytes) -> bytes:
    """The content with one bit of its middle flipped."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if content else content

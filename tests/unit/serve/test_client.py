"""The client of `naruto-add generate --url` with a server that is busy at first."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from naruto_add.errors import UserError
from serve.client import draw

PICTURE = {"data": [{"b64_json": base64.b64encode(b"picture").decode()}], "model": "student", "steps": 4}
FULL = {"error": {"message": "All places are taken.", "type": "rate_limit_error", "param": None, "code": "queue_full"}}


class Busy(BaseHTTPRequestHandler):
    """Refuses as often as the server's `refusals` says."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1  # type: ignore[attr-defined]
        refused = self.server.asked <= self.server.refusals  # type: ignore[attr-defined]
        self.send_response(429 if refused else 200)
        if refused:
            self.send_header("Retry-After", "1")
            self.send_header("Retry-After-Ms", "30")
        self.end_headers()
        self.wfile.write(json.dumps(FULL if refused else PICTURE).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Busy) as started:
        started.asked = started.refusals = 0  # type: ignore[attr-defined]
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def test_a_busy_server_is_asked_again_when_it_says(server: HTTPServer) -> None:
    server.refusals = 3  # type: ignore[attr-defined]
    began = time.perf_counter()
    assert draw(f"127.0.0.1:{server.server_port}", {"prompt": "a"}).data == b"picture"
    assert server.asked == 4 and 0.09 <= time.perf_counter() - began < 2  # type: ignore[attr-defined]


def test_but_not_for_ever(server: HTTPServer) -> None:
    server.refusals = 10**6  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="All places are taken"):
        draw(f"127.0.0.1:{server.server_port}", {"prompt": "a"}, timeout_s=0.3)

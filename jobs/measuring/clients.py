"""Clients of an image server, and the server itself as a process: what `jobs.bench_serve` measures with.

Clients are threads of this process with real sockets, on the same cores as the server.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from naruto_add.errors import UserError

PROMPT = "Naruto meditating on a mountain under the sunset"
STEPS = 4
START_LIMIT_S, STOP_LIMIT_S = 300.0, 60.0
COPY = "ray::ServeReplica"
Wish = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One request: HTTP status (0: no answer), seconds until its last byte, and when to come back if it was refused."""

    status: int
    seconds: float
    wait_s: float = 1.0

    @property
    def drawn(self) -> bool:
        """Whether there is a picture."""
        return self.status == 200


_NUMBERS = itertools.count()


def next_wish() -> Wish:
    """A picture that nobody asked for before, of a prompt that nobody encoded before."""
    number = next(_NUMBERS)
    return {"prompt": f"{PROMPT}, number {number}", "seed": number, "steps": STEPS}


class Client:
    """One connection; each call asks for another picture and reads the body whole."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def __call__(self, wish: Wish | None = None) -> Outcome:
        """Ask once."""
        body, began = json.dumps(wish or next_wish()), time.perf_counter()
        try:
            self.connection.request("POST", "/v1/images/generations", body, {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return Outcome(0, time.perf_counter() - began)
        wait_s = int(answer.headers.get("Retry-After-Ms", "1000")) / 1e3
        return Outcome(answer.status, time.perf_counter() - began, wait_s)

    def patient(self) -> Outcome:
        """Ask until it is not refused as busy, pausing as the server says, as OpenAI's clients do."""
        while (outcome := self()).status == 429:
            time.sleep(outcome.wait_s)
        return outcome


def rate(port: int, clients: int, seconds: float) -> float:
    """Pictures a second that patient clients get which ask again as soon as they have an answer."""
    until, drawn = time.perf_counter() + seconds, []

    def client() -> None:
        ask = Client(port)
        while time.perf_counter() < until:
            outcome = ask.patient()
            drawn.append(outcome.drawn and time.perf_counter() < until)

    in_threads([client] * clients)
    return sum(drawn) / seconds


def arrivals(port: int, per_s: float, seconds: float) -> list[Outcome]:
    """An open load: requests at fixed times, whether or not earlier ones have been answered."""
    outcomes: list[Outcome] = []
    clients, began = max(16, int(per_s)), time.perf_counter()

    def client(number: int) -> Callable[[], None]:
        def ask() -> None:
            once = Client(port)
            for turn in range(number, int(per_s * seconds), clients):
                time.sleep(max(0.0, began + turn / per_s - time.perf_counter()))
                outcomes.append(once())

        return ask

    in_threads([client(number) for number in range(clients)])
    return outcomes


def in_threads(tasks: Sequence[Callable[[], None]]) -> None:
    """Run them side by side and wait."""
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@dataclass(frozen=True)
class Running:
    """A server that has drawn its first picture: its port, its process, what it says, and how long that took."""

    port: int
    process: subprocess.Popen[bytes]
    said: Path
    cold_start_s: float

    def copies(self) -> dict[int, float]:
        """Resident MiB of each of the application's copies, by process id."""
        command = ["ps", "-eo", "sid,pid,rss,args"]
        rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
        parts = (row.split(None, 3) for row in rows)
        own = self.process.pid
        return {int(p): int(rss) / 1024 for sid, p, rss, args in parts if int(sid) == own and args.startswith(COPY)}

    def memory_mib(self) -> float:
        """Resident MiB of all copies."""
        return sum(self.copies().values())

    def count_said(self, event: str) -> int:
        """How many lines of this event it has written."""
        return self.said.read_text(encoding="utf-8").count(f'{{"event": "{event}"')


@contextlib.contextmanager
def running(name: str, command: Sequence[str]) -> Iterator[Running]:
    """A server, its port as the last word, in a session of its own; raises UserError if it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, unwound_by_sigterm():
        said, began = Path(folder) / "said", time.perf_counter()
        with said.open("wb") as file:
            words = [sys.executable, *command, str(port)]
            process = subprocess.Popen(words, start_new_session=True, stdout=file, stderr=file)
        try:
            wait_for_picture(name, port, process, said)
            yield Running(port, process, said, time.perf_counter() - began)
        finally:
            end(process)


@contextlib.contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """While inside, SIGTERM ends this process as `sys.exit` does, or the servers that it started would outlive it."""

    def leave(number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        sys.exit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def wait_for_picture(name: str, port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    """Return when it has drawn one; raises UserError with its last words."""
    until = time.perf_counter() + START_LIMIT_S
    while not Client(port)().drawn:
        if process.poll() is not None or time.perf_counter() > until:
            last = said.read_text(encoding="utf-8", errors="replace").strip()[-800:]
            raise UserError(f"{name} did not start (exit code {process.poll()}). Its last words:\n{last}")
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a server as a supervisor would, then whatever it has left behind (LitServe's workers outlive it)."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0

"""Servers as users start them, for tests."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY


@dataclass(frozen=True)
class Server:
    """One that runs, and its log."""

    url: str
    port: int
    log: Path
    pid: int

    def copy_pids(self) -> list[int]:
        """The processes of the application's copies."""
        table = subprocess.run(["ps", "-eo", "pid,sid,args"], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in table.splitlines()[1:]]
        return [int(pid) for pid, sid, args in rows if int(sid) == self.pid and args.startswith("ray::ServeReplica")]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextmanager
def serving(bundle: Path, *words: str | Path, log: Path | None = None) -> Iterator[Server]:
    """`naruto-add serve BUNDLE`, in a session of its own; stopped as a supervisor would stop it."""
    port = free_port()
    command = [sys.executable, "-m", "naruto_add", "serve", str(bundle), "--port", str(port), *map(str, words)]
    environment = {**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    try:
        assert process.stdout is not None
        said = next((line for line in process.stdout if re.match(r'\{"event": "serving"', line)), "")
        assert said, f"it did not start: exit code {process.wait(30)}"
        path = Path(words[words.index("--log-file") + 1]) if "--log-file" in words else Path()
        yield Server(json.loads(said)["url"], port, path, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_until(there_is: Callable[[], bool], seconds: float = 60) -> bool:
    """Slow machines draw slowly: wait for a state, not for a time; whether it came within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := there_is()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found

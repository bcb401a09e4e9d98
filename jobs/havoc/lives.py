"""Processes that are started to die: forked from a server that has imported everything, so that each costs little."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

DECODERS = [f"PIL.{kind}ImagePlugin" for kind in ("Bmp", "Gif", "Jpeg", "Mpo", "Png", "WebP")]
PRELOADED = ["naruto_add.on_ray.workers", "naruto_add.data.prepare", "scipy.fftpack", *DECODERS]
KILLED = -signal.SIGKILL
LIMIT_S = 300.0

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)


def start(function: Callable[..., object], *arguments: Any, log: Path | None = None) -> BaseProcess:
    """Call `function(*arguments)` in a new process; what it says goes to `log`."""
    process = CONTEXT.Process(target=lived, args=(function, arguments, log), daemon=True)
    process.start()
    return process


def lived(function: Callable[..., object], arguments: Sequence[Any], log: Path | None) -> None:
    """In the process: the call, its exit code if it returns one; a traceback and exit code 1 if it fails."""
    if log is not None:
        for descriptor in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
    code = function(*arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 0)


def ended(process: BaseProcess, limit_s: float = LIMIT_S) -> int:
    """Its exit code, minus the signal that killed it; killed here if it takes longer than `limit_s`."""
    process.join(limit_s)
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def die() -> None:
    """End this process at once, as a machine that is taken away does."""
    os.kill(os.getpid(), signal.SIGKILL)


def counted(owner: Any, name: str, event: Callable[[], None]) -> None:
    """In a process made to be killed: call `event` before every call of `owner.name`."""
    whole = getattr(owner, name)

    def watched(*arguments: Any, **named: Any) -> Any:
        """The event, then the call."""
        event()
        return whole(*arguments, **named)

    setattr(owner, name, watched)


class Doom:
    """Counts events and does something at the one numbered `at`; None: never."""

    def __init__(self, at: int | None, act: Callable[[], None] = die) -> None:
        self.at, self.act, self.seen = at, act, 0

    def __call__(self) -> None:
        """One more event."""
        if self.seen == self.at:
            self.act()
        self.seen += 1


def tail(log: Path, lines: int = 3) -> str:
    """The last lines of a log, for a message."""
    return " / ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) if log.exists() else ""

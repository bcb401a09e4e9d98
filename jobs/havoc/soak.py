"""The endpoint as users start it, at steady load: does it stay as it is, and does a killed copy cost anybody anything?

A trial is a minute. The server lives as long as the experiment; its memory and descriptors are those of its copies.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from jobs.havoc.experiments import Trial
from jobs.havoc.record import Outcome
from jobs.havoc.setting import Setting
from jobs.measuring.clients import Client, Running, in_threads, running
from serve.settings import SHIPPED

MINUTE_S = 60.0
CLIENTS = 2
PAUSE_S = 0.5
"""Between a client's answer and its next request."""
WARM_UP_MINUTES = 5
"""Not counted in the slope: caches fill."""
KILL_EVERY = 2


def soak(setting: Setting) -> Trial:
    """One copy, no trouble: memory and descriptors must stay what they are after the warm-up."""
    server = started(setting, 1)
    answers: list[bool] = []
    memory: list[tuple[float, float]] = []
    descriptors: list[int] = []

    def trial(number: int) -> Outcome:
        """One more minute."""
        minute(server.port, answers)
        memory.append((time.monotonic() / 3600, server.memory_mib()))
        descriptors.append(sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in server.copies()))
        return Outcome(latest={**served(answers), **growth(memory, descriptors)})

    return trial


def copies(setting: Setting) -> Trial:
    """Two copies, one of which is killed in the midst of every second minute."""
    server = started(setting, 2)
    answers: list[bool] = []

    def trial(number: int) -> Outcome:
        """One more minute."""
        killing = number % KILL_EVERY == 0
        minute(server.port, answers, (lambda: kill_one(server)) if killing else None)
        return Outcome(kinds={"copies killed": int(killing)}, latest=served(answers))

    return trial


def started(setting: Setting, number: int) -> Running:
    """A server with so many copies, stopped at the end of the experiment."""
    words = ["--cache-mb", "0", "--log-file", os.devnull, "--min-replicas", str(number), "--max-replicas", str(number)]
    command = ["-m", "naruto_add", "serve", str(setting.bundle or SHIPPED), *words, "--port"]
    return setting.stack.enter_context(running("naruto-add serve", command))


def minute(port: int, answers: list[bool], trouble: Callable[[], None] | None = None) -> None:
    """A minute of requests; the trouble comes after a third of it."""
    until = time.monotonic() + MINUTE_S

    def client() -> None:
        """Asks, looks at the picture, asks again."""
        ask = Client(port)
        while time.monotonic() < until:
            answers.append(answered(ask))
            time.sleep(PAUSE_S)

    def troublemaker() -> None:
        """Waits, and does it."""
        time.sleep(MINUTE_S / 3)
        if trouble is not None:
            trouble()

    in_threads([*[client] * CLIENTS, troublemaker])


def answered(ask: Client) -> bool:
    """Whether there is a picture, at the second try if need be, made when the refusal said so."""
    first = ask()
    if not first.drawn:
        time.sleep(first.wait_s)
    return first.drawn or ask().drawn


def kill_one(server: Running) -> None:
    """The copy with the lowest process number: the longest alive."""
    os.kill(min(server.copies()), signal.SIGKILL)


def served(answers: list[bool]) -> dict[str, float]:
    """How many requests there were, and the share of those that failed twice."""
    return {"requests": float(len(answers)), "failed_share": answers.count(False) / len(answers)}


def growth(memory: list[tuple[float, float]], descriptors: list[int]) -> dict[str, float]:
    """The slope of the memory and the growth of the descriptors after the warm-up; nothing before its end."""
    if len(memory) < WARM_UP_MINUTES + 2:
        return {}
    hours, mib = zip(*memory[WARM_UP_MINUTES:], strict=True)
    slope = statistics.linear_regression(hours, mib).slope
    return {"memory_mib_per_h": slope, "more_descriptors": float(descriptors[-1] - descriptors[WARM_UP_MINUTES])}

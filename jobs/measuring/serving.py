"""What a server goes through in `jobs.bench_serve`: a client, a crowd, far too many, a killed copy, an update, rest."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from jobs.bench_peers import Pipeline
from jobs.measuring.clients import Client, Outcome, Running, arrivals, next_wish, percentile, rate

BATCHES = (1, 2, 4, 8)
CROWDS = (2, 8)
"""How many clients make a crowd; the best counts, as of the pipeline's batches."""
WAIT_LIMIT_S = 120.0
OVERLOAD = 10
CALM_S = 20.0
"""How long a server is watched after an overload."""


@dataclass(frozen=True)
class Amounts:
    """How much is measured."""

    requests: int = 30
    """Of the single client."""
    crowd_s: float = 6.0
    overload_s: float = 60.0
    load_s: float = 12.0
    """Before and after a copy is killed."""


QUICK = Amounts(requests=5, crowd_s=2.0, overload_s=5.0, load_s=2.0)


@dataclass
class Figures:
    """What one way of drawing does: times in milliseconds, pictures a second; None is what was not measured."""

    cold_start_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    overhead_ms: float | None = None
    """Median over rounds of what a picture took longer than the pipeline's right before."""
    pictures_per_s: float | None = None
    more: dict[str, float] = field(default_factory=dict)


def measure_pipeline(pipeline: Pipeline, amounts: Amounts) -> Figures:
    """Diffusers' pipeline without a server: one picture with its PNG, and the best batch's rate."""
    single = [draw_s(pipeline, 1) for _ in range(amounts.requests)]
    best = max(count / statistics.median(draw_s(pipeline, count) for _ in range(3)) for count in BATCHES)
    return Figures(p50_ms=percentile(single, 50) * 1e3, p99_ms=percentile(single, 99) * 1e3, pictures_per_s=best)


def draw_s(pipeline: Pipeline, count: int) -> float:
    """Seconds of a batch in this process."""
    wishes, began = [next_wish() for _ in range(count)], time.perf_counter()
    pipeline.draw(wishes)
    return time.perf_counter() - began


def measure_one_client(server: Running, pipeline: Pipeline, amounts: Amounts) -> Figures:
    """A picture of the pipeline, one of the server, in turns: noise of the machine hits both."""
    ask, ours, theirs = Client(server.port), [], []
    for _ in range(amounts.requests):
        theirs.append(draw_s(pipeline, 1))
        ours.append(ask.patient().seconds)
    overhead = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
    return Figures(server.cold_start_s, percentile(ours, 50) * 1e3, percentile(ours, 99) * 1e3, overhead * 1e3)


def measure_crowd(server: Running, amounts: Amounts) -> float:
    """The most pictures a second."""
    return max(rate(server.port, clients, amounts.crowd_s) for clients in CROWDS)


def overwhelm(server: Running, capacity: float, amounts: Amounts) -> dict[str, float]:
    """Ten times the capacity, in an open load, after as many quiet requests as give a p99. And how soon it is over."""
    quiet = [Client(server.port)().seconds for _ in range(2 * amounts.requests)]
    before, began = server.memory_mib(), time.perf_counter()
    outcomes = arrivals(server.port, OVERLOAD * capacity, amounts.overload_s)
    offered, after = len(outcomes) / (time.perf_counter() - began), server.memory_mib()
    accepted = [each.seconds for each in outcomes if each.drawn]
    refused = [each.seconds for each in outcomes if each.status == 429]
    return {
        "offered_over_capacity": offered / capacity,
        "accepted": len(accepted),
        "refused": len(refused),
        "neither": len(outcomes) - len(accepted) - len(refused),
        "quiet_p99_ms": percentile(quiet, 99) * 1e3,
        "accepted_p50_ms": percentile(accepted, 50) * 1e3,
        "accepted_p99_ms": percentile(accepted, 99) * 1e3,
        "accepted_p99_over_quiet": percentile(accepted, 99) / percentile(quiet, 99),
        "refused_p50_ms": percentile(refused, 50) * 1e3,
        "refused_p99_ms": percentile(refused, 99) * 1e3,
        "memory_growth_mib": after - before,
        "back_to_normal_s": calm_s(server, 1.5 * percentile(quiet, 50)),
    }


def calm_s(server: Running, normal_s: float) -> float:
    """Seconds until three pictures in a row take no longer than `normal_s`; `CALM_S` if that does not happen."""
    ask, began, row = Client(server.port), time.perf_counter(), 0
    while row < 3 and time.perf_counter() - began < CALM_S:
        row = row + 1 if ask.patient().seconds <= normal_s else 0
    return time.perf_counter() - began


def kill_a_copy(server: Running, amounts: Amounts) -> dict[str, float]:
    """The share of requests of patient clients that succeed, each tried a second time once, while a copy is killed."""
    with under_load(server, retries=1) as outcomes:
        time.sleep(amounts.load_s)
        os.kill(min(server.copies()), signal.SIGKILL)
        time.sleep(amounts.load_s)
    drawn = sum(each.drawn for each in outcomes)
    return {"requests": len(outcomes), "failed": len(outcomes) - drawn, "success": drawn / max(1, len(outcomes))}


def update(server: Running) -> dict[str, float]:
    """Requests that fail while all copies are exchanged for new ones."""
    old = set(server.copies())
    with under_load(server, retries=0) as outcomes:
        server.process.send_signal(signal.SIGUSR1)
        seconds = wait_until(lambda: server.count_said("renewed") > 0 and not old & set(server.copies()))
    failed = sum(not each.drawn for each in outcomes)
    left = len(old & set(server.copies()))
    return {"seconds": seconds, "requests": len(outcomes), "failed": failed, "old_copies_left": left}


def from_zero(server: Running) -> dict[str, float]:
    """Seconds until the last copy of an idle server is gone, then those of the next picture."""
    gone_s = wait_until(lambda: not server.copies())
    outcome = Client(server.port)()
    return {"idle_until_zero_s": gone_s, "first_image_s": outcome.seconds, "status": outcome.status}


@contextlib.contextmanager
def under_load(server: Running, retries: int) -> Iterator[list[Outcome]]:
    """Four patient clients meanwhile; what fails is asked again `retries` times. The outcomes are there at the end."""
    over = threading.Event()
    outcomes: list[Outcome] = []

    def client() -> None:
        ask = Client(server.port)
        while not over.is_set():
            outcome = ask.patient()
            for _ in range(retries):
                outcome = outcome if outcome.drawn else ask.patient()
            outcomes.append(outcome)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def wait_until(there_is: Callable[[], bool]) -> float:
    """Seconds until a state is reached, or `WAIT_LIMIT_S`."""
    began = time.perf_counter()
    while not there_is() and time.perf_counter() - began < WAIT_LIMIT_S:
        time.sleep(0.1)
    return time.perf_counter() - began

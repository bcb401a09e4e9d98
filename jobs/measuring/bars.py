"""What the endpoint is held to: the bars of `jobs.bench_serve`, and whether figures reach them. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jobs.measuring.serving import Figures

FLAT_MIB = 32.0
"""Growth of a copy's memory that is no leak: threads and buffers that the first overload sets up."""


@dataclass(frozen=True)
class Bar:
    """A measured value and its limit."""

    title: str
    value: float
    limit: float
    kind: Literal["at most", "at least"] = "at most"

    @property
    def passed(self) -> bool:
        """Whether it is reached."""
        return self.value <= self.limit if self.kind == "at most" else self.value >= self.limit

    @property
    def verdict(self) -> str:
        """In a word."""
        return "passed" if self.passed else "missed"

    @property
    def limit_text(self) -> str:
        """In words."""
        return f"{self.kind} {self.limit:g}"


def judged(figures: Mapping[str, Figures]) -> list[Bar]:
    """The bars of everything that was measured, by the names that `jobs.bench_serve` gives."""
    return [*load_bars(figures), *overload_bars(figures), *copies_bars(figures)]


def load_bars(figures: Mapping[str, Figures]) -> Iterable[Bar]:
    """One client, and a crowd where the server queues it (`--max-slowdown 0`), beside the pipeline and the peers."""
    measured = [each for each in figures.values() if each.p50_ms is not None]
    if len(measured) < 3:
        return
    pipeline, ours, queued, *peers = measured
    assert ours.cold_start_s is not None and ours.overhead_ms is not None
    yield Bar("cold start to the first image, s", ours.cold_start_s, 30)
    yield Bar("over the pipeline in process, p50, ms", ours.overhead_ms, 15)
    yield Bar("pictures/s with a queue over the pipeline's best batch", ratio(queued, pipeline), 0.9, "at least")
    for peer in peers:
        yield Bar("pictures/s with a queue over a peer's", ratio(queued, peer), 1, "at least")


def ratio(ours: Figures, other: Figures) -> float:
    """Of pictures a second."""
    assert ours.pictures_per_s is not None and other.pictures_per_s is not None
    return ours.pictures_per_s / other.pictures_per_s if other.pictures_per_s else float("inf")


def overload_bars(figures: Mapping[str, Figures]) -> Iterable[Bar]:
    """Ten times the capacity."""
    for each in figures.values():
        if "accepted_p99_over_quiet" in each.more:
            yield Bar(
                "overload: requests a second over the capacity", each.more["offered_over_capacity"], 9, "at least"
            )
            yield Bar("overload: accepted p99 over the quiet one", each.more["accepted_p99_over_quiet"], 2)
            yield Bar("overload: refused p99, ms", each.more["refused_p99_ms"], 100)
            yield Bar("overload: answered otherwise", each.more["neither"], 0)
            yield Bar("overload: growth of memory, MiB", each.more["memory_growth_mib"], FLAT_MIB)
            yield Bar("overload: back to normal, s", each.more["back_to_normal_s"], 10)


def copies_bars(figures: Mapping[str, Figures]) -> Iterable[Bar]:
    """A killed copy, an update."""
    for each in figures.values():
        if "success" in each.more:
            yield Bar("copy killed: success with one retry", each.more["success"], 0.999, "at least")
        if "old_copies_left" in each.more:
            yield Bar("update under load: failed requests", each.more["failed"], 0)
            yield Bar("update under load: old copies left", each.more["old_copies_left"], 0)

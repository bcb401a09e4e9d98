"""`python -m jobs.bench_serve`: what the endpoint costs and holds, beside its peers and its bars, in one run.

The pipeline in this process (latency, best batch), then each server in a process of its own on real sockets: ours
under Ray Serve, and with `--peers` a plain FastAPI application and LitServe; then ours with two copies, which are
exchanged for new ones under load and of which one is killed, and ours that has stopped all copies for want of requests.
About six minutes on two quiet cores. The tables go to stdout, the figures to `--out`, after every part.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jobs import console
from jobs.entry import guarded
from jobs.measuring.bars import Bar, judged
from jobs.measuring.machine import cores_and_load
from naruto_add.artifact import open_artifact, verify, write_json
from naruto_add.errors import raise_all
from serve.settings import SHIPPED

if TYPE_CHECKING:
    from jobs.measuring.serving import Amounts, Figures

PIPELINE, OURS, QUEUED = "pipeline in process", "naruto-add serve", "naruto-add serve --max-slowdown 0"
PEERS = {"FastAPI, plain": "jobs.bench_peers", "LitServe, batches of 8": "jobs.bench_litserve"}
BUSY = 0.3
"""Load average a core from which other programs' work is in the figures."""
PARTS = ("load", "copies", "zero")


@dataclass(frozen=True)
class Words:
    """Measure the endpoint on this machine; leave it alone meanwhile."""

    bundle: Path = SHIPPED
    """What is served; default: the student that ships with the package."""
    only: tuple[str, ...] = ()
    """Parts to measure: load (one client, a crowd, overload), copies (one killed, all exchanged), zero (from no copy to
    a picture); default: all."""
    peers: bool = False
    """Also load a plain FastAPI application and LitServe."""
    quick: bool = False
    """Seconds instead of minutes: to see that it runs, not to conclude."""
    out: Path = Path("runs/bench_serve.json")
    """The figures."""


def main(words: Sequence[str]) -> None:
    """Check, measure, write, show."""
    asked = tyro.cli(Words, prog="python -m jobs.bench_serve", args=list(words))
    check(asked)
    before = cores_and_load()
    busy = before["load"][0] / before["cores"]
    console.warn([f"this machine is busy (load {busy:.0%} a core): conclude nothing"] if busy > BUSY else [])
    figures: dict[str, Figures] = {}
    for name, measure in parts(asked).items():
        console.say("measuring", f"measuring {name} ...", name=name)
        figures |= measure()
        write_json(asked.out, record(asked, figures, before))
    sys.stdout.write(table(figures) + "\n" + bar_table(judged(figures)))


def check(asked: Words) -> None:
    """Raise UserError for all that can be told before anything is started."""
    known = importlib.util.find_spec("litserve") is not None
    problems = [f"--only {name}: there are {', '.join(PARTS)}." for name in asked.only if name not in PARTS]
    problems += ["--peers needs LitServe: pip install 'litserve>=0.2.16'."] if asked.peers and not known else []
    problems += [f"--out {asked.out}: is a folder; name a file."] if asked.out.is_dir() else []
    raise_all(problems)
    verify(open_artifact(asked.bundle, "bundle"))
    asked.out.parent.mkdir(parents=True, exist_ok=True)


def parts(asked: Words) -> dict[str, Callable[[], dict[str, Figures]]]:
    """What to measure, in order."""
    all_parts: dict[str, Callable[[], dict[str, Figures]]] = {
        "load": lambda: measure_load(asked),
        "copies": lambda: measure_copies(asked),
        "zero": lambda: measure_zero(asked),
    }
    return {name: part for name, part in all_parts.items() if not asked.only or name in asked.only}


def amounts(asked: Words) -> Amounts:
    """How much is measured."""
    from jobs.measuring.serving import QUICK, Amounts

    return QUICK if asked.quick else Amounts()


def ours(asked: Words, *more: str) -> list[str]:
    """The command of our server, all else as by default; its port goes last."""
    flags = ["--cache-mb", "0", "--log-file", os.devnull, *more]
    return ["-m", "naruto_add", "serve", str(asked.bundle), *flags, "--port"]


def measure_load(asked: Words) -> dict[str, Figures]:
    """The pipeline, our server, and its peers where they are asked for: one client, a crowd; ours: overload too."""
    from jobs.bench_peers import Pipeline
    from jobs.measuring import serving
    from jobs.measuring.clients import running

    pipeline, much = Pipeline(asked.bundle), amounts(asked)
    figures = {PIPELINE: serving.measure_pipeline(pipeline, much)}
    peers = {name: ["-m", module, str(asked.bundle)] for name, module in PEERS.items() if asked.peers}
    for name, command in {OURS: ours(asked), QUEUED: ours(asked, "--max-slowdown", "0"), **peers}.items():
        with running(name, command) as server:
            figures[name] = serving.measure_one_client(server, pipeline, much)
            capacity = figures[name].pictures_per_s = serving.measure_crowd(server, much)
            if name == OURS:
                figures[name].more = serving.overwhelm(server, capacity, much)
    return figures


def measure_copies(asked: Words) -> dict[str, Figures]:
    """Two copies under load: all are exchanged, then one is killed."""
    from jobs.measuring import serving
    from jobs.measuring.clients import running

    with running(OURS, ours(asked, "--min-replicas", "2", "--max-replicas", "2")) as server:
        updated = serving.Figures(server.cold_start_s, more=serving.update(server))
        killed = serving.Figures(server.cold_start_s, more=serving.kill_a_copy(server, amounts(asked)))
    return {"two copies, exchanged": updated, "two copies, one killed": killed}


def measure_zero(asked: Words) -> dict[str, Figures]:
    """No copy runs while nobody asks."""
    from jobs.measuring import serving
    from jobs.measuring.clients import running

    with running(OURS, ours(asked, "--min-replicas", "0", "--idle-s", "2")) as server:
        return {"from no copy": serving.Figures(server.cold_start_s, more=serving.from_zero(server))}


def record(asked: Words, figures: dict[str, Figures], before: dict[str, Any]) -> dict[str, object]:
    """The figures with what they were measured with and on, and what the bars say."""
    words = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(asked).items()}
    machine = {"before": before, "after": cores_and_load()}
    found = {name: asdict(each) for name, each in figures.items()}
    return {"words": words, "machine": machine, "figures": found, "bars": [asdict(bar) for bar in judged(figures)]}


def table(figures: dict[str, Figures]) -> str:
    """What was measured the same way, as a Markdown table; then what was not, a line each."""
    lines = ["| | cold start | p50 | over the pipeline | p99 | pictures/s |", "|---|---:|---:|---:|---:|---:|"]
    for name, each in figures.items():
        if each.p50_ms is not None:
            cells = [number(each.cold_start_s, " s"), number(each.p50_ms, " ms"), number(each.overhead_ms, " ms", "+")]
            cells += [number(each.p99_ms, " ms"), number(each.pictures_per_s, "", ".2")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, each in figures.items():
        lines += ["", *(f"- {name}: {key.replace('_', ' ')}: {value:.4g}" for key, value in each.more.items())]
    return "\n".join(lines) + "\n"


def number(value: float | None, unit: str, style: str = "") -> str:
    """A number in a cell, a dash where there is none."""
    return "-" if value is None else f"{value:{style if '.' in style else style + '.0'}f}{unit}"


def bar_table(bars: Sequence[Bar]) -> str:
    """The bars as a Markdown table."""
    lines = ["| bar | measured | |", "|---|---:|---|"]
    lines += [f"| {bar.title} {bar.limit_text} | {bar.value:.4g} | {bar.verdict} |" for bar in bars]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

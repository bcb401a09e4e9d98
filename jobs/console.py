"""What a run says: lines and tables for a person at a terminal, JSON lines on stdout for a program behind a pipe."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from naruto_add.export.card import figure

COLUMNS = {
    "fd_real": "FD real",
    "kid_real": "KD real",
    "fd_teacher": "FD teacher",
    "lpips_teacher": "perceptual",
    "diversity": "diversity",
    "prompt_accuracy": "accuracy",
    "latency_s": "seconds",
    "n": "N",
}
"""The scores of report.json in the order of the closing table, with their headings."""
LEAST_SHARE = 0.001
"""Of a training's time; smaller parts are not shown."""
LEGEND = (
    "FD, KD: Frechet and kernel distance of feature networks named in report.json; perceptual: mean distance to the\n"
    "teacher's picture of the same caption and noise; accuracy: share of the caption's attributes found; seconds a\n"
    "picture; N: pictures scored. A score means something beside its floors only."
)


def watched() -> bool:
    """Whether a person watches stdout."""
    return sys.stdout.isatty()


def say(event: str, text: str, **values: Any) -> None:
    """One line: `text` for a person, the event and its values as JSON for a program."""
    line = text if watched() else json.dumps({"event": event, **values}, ensure_ascii=False)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def warn(messages: Sequence[str]) -> None:
    """Warnings go to stderr, a line each."""
    for message in messages:
        sys.stderr.write(f"naruto-add: warning: {message}\n")


@contextmanager
def stage(name: str, path: Path, current: bool) -> Iterator[None]:
    """Announce a stage and, when it is done, its time; nothing at the end of one that failed."""
    started = time.perf_counter()
    if not current:
        say("stage", f"{name:9} ...", stage=name, status="started", path=str(path))
    yield
    seconds = time.perf_counter() - started
    status = "current" if current else "done"
    say("stage", f"{name:9} {status:8} {seconds:7.1f} s  {path}", stage=name, status=status, seconds=round(seconds, 2))


def profile(stage: str, path: Path) -> None:
    """Where a training's time went, from the file that its first worker left."""
    seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
    total = sum(seconds.values())
    shares = (f"{part} {value / total:.1%}" for part, value in seconds.items() if value >= LEAST_SHARE * total)
    say("profile", f"{stage:9} time: {', '.join(shares)}", stage=stage, seconds=seconds)


def closing(scores: Mapping[str, Mapping[str, Any]], following: Mapping[str, str]) -> None:
    """The table of scores and what to try next: on stdout for a person, else as JSON there and as text on stderr."""
    if not watched():
        say("scores", "", scores=scores, next=following)
    console = screen(stderr=not watched())
    console.print(score_table(scores))
    console.print(LEGEND, style="dim")
    for purpose, command in following.items():
        console.print(f"\n{purpose}\n  {command}", highlight=False, markup=False, soft_wrap=True)


def screen(stderr: bool = False) -> Console:
    """Where tables go: as wide as the terminal, or 120 characters where none is watched."""
    return Console(stderr=stderr, width=None if watched() else 120)


def score_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per model and step count, floors last."""
    table = Table(title="Scores, with their floors", title_justify="left")
    table.add_column("model@steps", no_wrap=True)
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name in sorted(scores, key=lambda row: row.startswith("floor/")):
        table.add_row(name, *(figure(scores[name].get(column)) for column in COLUMNS))
    return table

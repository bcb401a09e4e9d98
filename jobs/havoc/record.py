"""What came of the trials: an outcome each, a row an experiment, and a file from which an interrupted one goes on."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.havoc.experiments import Experiment
from naruto_add.artifact import write_json
from naruto_add.errors import UserError

Verdict = Literal["passed", "missed", "unfinished"]
FILE = "chaos.json"
SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Outcome:
    """What came of one trial."""

    problem: str = ""
    """What went wrong; empty: nothing."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """What was tried or found, and how often."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Measured values, of which the row keeps the largest."""
    latest: Mapping[str, float] = field(default_factory=dict)
    """Values over all trials so far: the row keeps the last."""


@dataclass
class Row:
    """An experiment's result so far; flat, so that it can be JSON."""

    name: str
    wanted: int
    seed: int
    done: int = 0
    passed: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    """The first ones: number and problem."""
    date: str = ""
    """When the last trial was done."""
    title: str = ""
    bar: str = ""
    verdict: Verdict = "unfinished"

    def add(self, outcome: Outcome, seconds: float) -> None:
        """Count one more trial."""
        if outcome.problem and len(self.failures) < SHOWN_FAILURES:
            self.failures.append({"trial": self.done, "problem": outcome.problem})
        self.passed += not outcome.problem
        self.done += 1
        self.seconds = round(self.seconds + seconds, 2)
        self.kinds = dict(sorted((Counter(self.kinds) + Counter(outcome.kinds)).items()))
        for name, value in outcome.figures.items():
            self.figures[name] = max(value, self.figures.get(name, value))
        self.figures |= outcome.latest
        self.date = time.strftime("%Y-%m-%d")

    def judge(self, experiment: Experiment) -> None:
        """Hold it to the experiment's bar."""
        self.title, self.bar = experiment.title, bar_of(experiment)
        limits = experiment.limits
        if self.passed < self.done or any(self.figures.get(name, 0.0) > most for name, most in limits.items()):
            self.verdict = "missed"
        else:
            whole = self.done >= self.wanted and limits.keys() <= self.figures.keys()
            self.verdict = "passed" if whole else "unfinished"


def bar_of(experiment: Experiment) -> str:
    """The bar with its limits, in words."""
    return "; ".join([experiment.bar, *(f"{name} <= {most:g}" for name, most in experiment.limits.items())])


def read_rows(folder: Path) -> dict[str, Row]:
    """The rows of an earlier call, by name; raises UserError if the file is not one of ours."""
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        rows = [Row(**values) for values in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a result of jobs.chaos ({error}). Choose another --out.") from error
    return {row.name: row for row in rows}


def write_rows(folder: Path, rows: Mapping[str, Row], machine: Mapping[str, Any]) -> None:
    """Write all rows with what they were measured on."""
    write_json(folder / FILE, {"machine": machine, "rows": [asdict(row) for row in rows.values()]})

"""`python -m jobs.results_table --run RUN`: write the scores of a run's report into README.md, between its markers."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from jobs.console import COLUMNS
from jobs.entry import guarded
from naruto_add.errors import UserError
from naruto_add.export.card import figure, named_extractors

START, END = "<!-- results -->", "<!-- /results -->"


@dataclass(frozen=True)
class Words:
    """Write the scores of a run into a Markdown file, between `<!-- results -->` and `<!-- /results -->`."""

    run: Path
    """The run whose report is shown."""
    readme: Path = Path("README.md")
    """The file to write."""


def main(words: Sequence[str]) -> None:
    """Replace what is between the markers."""
    asked = tyro.cli(Words, prog="jobs.results_table", args=list(words))
    path = asked.run / "report" / "report.json"
    if not path.is_file():
        raise UserError(f"{path} is not there; run naruto-add evaluate first.")
    report = json.loads(path.read_text(encoding="utf-8"))
    text = asked.readme.read_text(encoding="utf-8")
    asked.readme.write_text(filled(text, block(report), asked.readme), encoding="utf-8")


def filled(text: str, content: str, name: Path) -> str:
    """The text with `content` between its markers; raises UserError where it has none."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise UserError(f"{name} has no {START} ... {END} to write between.")
    return f"{before}{START}\n{content}\n{END}{after}"


def block(report: Mapping[str, Any]) -> str:
    """The table, what it was measured with, and on what machine."""
    settings = report["settings"]
    measured = "; ".join(f"{role}: {entry['name']}" for role, entry in named_extractors(report["extractors"]))
    return "\n".join([
        f"Recipe `{settings['recipe']}`, {settings['size_px']} px, {settings['n_train']} training images, distances to "
        f"{settings['n_reference']} held-out ones.",
        "",
        *table(report["scores"]),
        "",
        f"Measured with {measured}. Brackets: 95 % bootstrap intervals. Seconds: one picture on {machine(report)}.",
    ])  # fmt: skip


def table(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of a Markdown table, floors last."""
    lines = ["| model@steps | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for name in sorted(scores, key=lambda row: row.startswith("floor/")):
        cells = (with_interval(scores[name], column) for column in COLUMNS)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def with_interval(row: Mapping[str, Any], column: str) -> str:
    """A score and, where there is one, its interval."""
    interval = row.get(f"{column}_interval")
    if row.get(column) is None or interval is None:
        return figure(row.get(column))
    return f"{figure(row[column])} [{figure(interval[0])}, {figure(interval[1])}]"


def machine(report: Mapping[str, Any]) -> str:
    """What the times were measured on, in words."""
    found = report["hardware"]
    name = found["processor"] if found["device"] == "cpu" else found["device"]
    return f"{name}, {found['threads']} threads, torch {found['torch']}"


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

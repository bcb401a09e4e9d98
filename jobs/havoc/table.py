"""The results for people: a table on the screen, and the same as Markdown for the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from jobs.havoc.record import Row
from naruto_add.export.card import figure

COLOURS = {"passed": "#2e7d5b", "missed": "#b3392f", "unfinished": "#9a9a9a"}
HEADINGS = ("experiment", "what is done", "trials", "passed", "bar", "measured", "seconds", "verdict")


def cells(row: Row) -> list[str]:
    """One row's texts."""
    measured = ", ".join(f"{name} {figure(value)}" for name, value in row.figures.items())
    trials = f"{row.done}" if row.done >= row.wanted else f"{row.done} of {row.wanted}"
    return [row.name, row.title, trials, str(row.passed), row.bar, measured or "-", f"{row.seconds:.0f}", row.verdict]


def screen_table(rows: Iterable[Row]) -> Table:
    """One line an experiment."""
    table = Table(title="Chaos", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in ("trials", "passed", "seconds") else "left")
    for row in rows:
        *texts, verdict = cells(row)
        table.add_row(*texts, f"[{COLOURS[verdict]}]{verdict}[/]")
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown, with the date of each row."""
    lines = ["| what is done | trials | passed | measured | bar | date |", "|---|---:|---:|---|---|---|"]
    for row in rows:
        _, title, trials, passed, bar, measured, _, _ = cells(row)
        lines.append(f"| {title} | {trials} | {passed} | {measured} | {bar} | {row.date} |")
    return "\n".join(lines) + "\n"

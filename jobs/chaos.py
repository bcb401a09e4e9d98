"""`python -m jobs.chaos [EXPERIMENT ...]`: what is promised of reliability, put to the test for real.

Results go to `--out` after every trial: `chaos.json`, and at the end `chaos.md`. The same command goes on where the
last one stopped.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from jobs import console
from jobs.entry import guarded
from jobs.havoc.experiments import Experiment, chosen
from jobs.havoc.record import Row, read_rows, write_rows
from jobs.havoc.table import markdown, screen_table
from jobs.measuring.machine import cores_and_load
from naruto_add.artifact import open_artifact
from naruto_add.errors import UserError, raise_all

if TYPE_CHECKING:
    from jobs.havoc.setting import Setting

WIDTH = 200


@dataclass(frozen=True)
class Words:
    """Put what is promised of reliability to the test: kill, corrupt, fill, overload."""

    experiments: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Which; default: all but workers, soak and copies, which start Ray."""
    quick: bool = False
    """A few trials of each: to see that it works, not to conclude."""
    count: int | None = None
    """Trials of each; default: the experiment's own."""
    seconds: float | None = None
    """Stop after about so long; the same command goes on."""
    again: bool = False
    """Forget earlier results of these experiments in --out."""
    soak_minutes: int | None = None
    """How long soak and copies last; default 60 and 30."""
    bundle: Path | None = None
    """What they serve; default: the student that ships."""
    seed: int = 0
    """Another one: other kills, bits and mutants."""
    out: Path = Path("runs/chaos")
    """Folder for chaos.json and chaos.md."""


def main(words: Sequence[str]) -> None:
    """Try, write, show; raises UserError for mistakes, and ends with exit code 1 if a promise was not kept."""
    asked = tyro.cli(Words, prog="python -m jobs.chaos", args=list(words))
    wanted = checked(asked)
    rows = read_rows(asked.out)
    asked.out.mkdir(parents=True, exist_ok=True)
    until = None if asked.seconds is None else time.monotonic() + asked.seconds
    for experiment in wanted:
        row = row_for(experiment, asked, rows.get(experiment.name))
        rows[experiment.name] = row
        perform(experiment, row, asked, rows, until)
    found = [rows[each.name] for each in wanted]
    show(found, list(rows.values()), asked.out)
    if any(row.verdict == "missed" for row in found):
        sys.exit(1)


def checked(asked: Words) -> list[Experiment]:
    """The experiments, after all that can be told at once; raises UserError."""
    numbers = {"--count": asked.count, "--seconds": asked.seconds, "--soak-minutes": asked.soak_minutes}
    raise_all(
        [f"{name} {value}: must be positive." for name, value in numbers.items() if value is not None and value <= 0]
    )
    if asked.bundle is not None:
        open_artifact(asked.bundle, "bundle")
    if asked.out.exists() and not asked.out.is_dir():
        raise UserError(f"--out {asked.out} is a file; name a folder.")
    return chosen(asked.experiments)


def row_for(experiment: Experiment, asked: Words, earlier: Row | None) -> Row:
    """The row to go on with: the earlier one, unless it was of another seed or is to be forgotten."""
    minutes = asked.soak_minutes if experiment.function.startswith("soak.") else None
    wanted = asked.count or minutes or (experiment.quick if asked.quick else experiment.trials)
    if earlier is None or asked.again or earlier.seed != asked.seed:
        return Row(experiment.name, wanted, asked.seed)
    earlier.wanted = wanted
    return earlier


def perform(experiment: Experiment, row: Row, asked: Words, rows: dict[str, Row], until: float | None) -> None:
    """Do the trials that are still to do, until the time is over."""
    with ExitStack() as stack:
        trial = None
        while row.done < row.wanted and (until is None or time.monotonic() < until):
            if trial is None:
                say(experiment, f"{experiment.title}: {row.wanted - row.done} trials ...")
                trial = experiment.set_up()(setting_of(asked, stack))
            began = time.monotonic()
            outcome = trial(row.done)
            row.add(outcome, time.monotonic() - began)
            if outcome.problem:
                say(experiment, f"trial {row.done - 1}: {outcome.problem}")
            row.judge(experiment)
            write_rows(asked.out, rows, cores_and_load())
    row.judge(experiment)


def setting_of(asked: Words, stack: ExitStack) -> Setting:
    """What the trials share, in a folder that is removed at the end."""
    from jobs.havoc.setting import Setting

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
    return Setting(folder, asked.seed, stack, asked.bundle)


def say(experiment: Experiment, text: str) -> None:
    """One line of progress."""
    console.say("chaos", f"{experiment.name}: {text}", experiment=experiment.name, says=text)


def show(found: list[Row], every: list[Row], out: Path) -> None:
    """The table of this call's rows; all rows as Markdown in `out`."""
    (out / "chaos.md").write_text(markdown(every), encoding="utf-8")
    Console(width=None if console.watched() else WIDTH).print(screen_table(found))
    for row in found:
        for failure in row.failures:
            console.say("failure", f"{row.name} {failure['trial']}: {failure['problem']}", name=row.name, **failure)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

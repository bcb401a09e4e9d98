"""`python -m jobs.bench`: what training, drawing, data, scores and starting cost here, beside their peers and bars.

Ours and its peer are measured in turns. Results go to `--out`: `bench.json` after every row, `ratios.png` and
`growth.png` at the end.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.console import Console

from jobs import console
from jobs.entry import guarded
from jobs.measuring.machine import cores_and_load
from jobs.measuring.rows import Row, chosen
from naruto_add.artifact import open_artifact, verify, write_json
from naruto_add.errors import UserError, raise_all
from naruto_add.models.folder import base_place, problems

if TYPE_CHECKING:
    from jobs.measuring.alternate import Calibration, Result
    from jobs.measuring.setting import Setting

REPEATS, QUICK_REPEATS = 7, 2
PIPE_WIDTH = 160


@dataclass(frozen=True)
class Words:
    """Measure what this machine does with us and with others; leave it alone meanwhile."""

    only: tuple[str, ...] = ()
    """Rows to measure; default: all."""
    repeats: int | None = None
    """Measurements of each side of a row; default 7, slow rows at most 5."""
    out: Path = Path("runs/bench")
    """Folder for bench.json, ratios.png and growth.png."""
    base: str = "mini"
    """mini, or a diffusers folder."""
    bundle: Path | None = None
    """A bundle whose student draws; default: surgery on the base, which takes the same time."""
    teacher: Path | None = None
    """A teacher to compare with (RUN/teacher); default: the base."""
    quick: bool = False
    """Small batches and two measurements: to see that it runs, not to conclude."""


def main(words: Sequence[str]) -> None:
    """Measure, write, show."""
    asked = tyro.cli(Words, prog="python -m jobs.bench", args=list(words))
    rows = checked(asked)
    asked.out.mkdir(parents=True, exist_ok=True)
    from jobs.measuring.alternate import Calibration
    from jobs.measuring.report import draw_growth, draw_ratios

    before = cores_and_load()
    calibration = Calibration(before["load"][0] / before["cores"])
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        setting = setting_of(asked, Path(folder))
        for row in rows:
            console.say("measuring", f"measuring {row.title} ...", row=row.name)
            results.append(measured(row, setting, asked, calibration))
            write_json(asked.out / "bench.json", record(asked, results, calibration, before))
    draw_ratios(results, asked.out / "ratios.png")
    draw_growth(results, asked.out / "growth.png")
    show(results, calibration, asked.out)


def checked(asked: Words) -> list[Row]:
    """The rows to measure, after all that can be told at once; raises UserError."""
    if asked.repeats is not None and asked.repeats < 1:
        raise UserError(f"--repeats {asked.repeats}: at least one.")
    if asked.out.exists() and not asked.out.is_dir():
        raise UserError(f"--out {asked.out} is a file; name a folder.")
    places = [base_place(str(name), None) for name in (asked.base, asked.teacher) if name is not None]
    raise_all([problem for place in places if place is not None for problem in problems(place)])
    if asked.bundle is not None:
        verify(open_artifact(asked.bundle, "bundle"))
    return chosen(asked.only)


def setting_of(asked: Words, folder: Path) -> Setting:
    """What the rows share."""
    from jobs.measuring.setting import Setting

    return Setting(asked.base, folder, asked.bundle, asked.teacher, asked.quick)


def measured(row: Row, setting: Setting, asked: Words, calibration: Calibration) -> Result:
    """Set a row up and measure it."""
    from jobs.measuring.alternate import measure

    repeats = asked.repeats or min(QUICK_REPEATS if asked.quick else REPEATS, row.most_repeats or REPEATS)
    return measure(row, row.set_up(setting), repeats, calibration)


def record(asked: Words, results: Sequence[Result], calibration: Calibration, before: dict[str, Any]) -> dict[str, Any]:
    """The results with what they were measured with and on."""
    import torch

    from naruto_add.evaluation.hardware import describe_hardware

    words = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(asked).items()}
    machine = {**describe_hardware(torch.device("cpu")), "before": before, "after": cores_and_load()}
    found = {**quietness(calibration), "seconds": calibration.seconds}
    return {"words": words, "machine": machine, "calibration": found, "rows": [asdict(each) for each in results]}


def quietness(calibration: Calibration) -> dict[str, Any]:
    """How quiet the machine was over the whole run, with the limits."""
    from jobs.measuring.alternate import LOAD_LIMIT, NOISE_LIMIT

    found = {"noise": calibration.noise(), "noise_limit": NOISE_LIMIT}
    return {"noisy": calibration.is_noisy(), **found, "load": calibration.load, "load_limit": LOAD_LIMIT}


def show(results: Sequence[Result], calibration: Calibration, out: Path) -> None:
    """The tables, and whether the machine was quiet enough for them."""
    from jobs.measuring.report import parts_table, results_table

    screen = Console(width=None if console.watched() else PIPE_WIDTH)
    screen.print(results_table(results))
    for each in results:
        if each.parts:
            screen.print(parts_table(each))
    found = quietness(calibration)
    end = "too noisy to conclude; stop other programs and measure again" if found["noisy"] else "quiet enough"
    varied, load = (f"{found[name]:.0%} (limit {found[f'{name}_limit']:.0%})" for name in ("noise", "load"))
    text = f"This machine was {end}: one product's time varied by {varied}, the load before was {load} a core.\n"
    text += f"{out}/bench.json"
    console.say("measured", text, **found, out=str(out))


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

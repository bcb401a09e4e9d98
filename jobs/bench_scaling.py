"""`python -m jobs.bench_scaling`: what a second worker is worth in distillation, and what each ZeRO stage costs.

An ADD step of recipe `mini` on Ray Train, with one worker and with several, of the same batch a worker (weak scaling)
and of the same batch in all (strong); then with DeepSpeed's stages. Beside them as many processes that train alone and
never talk: more than these the machine does not give. Results go to `--out` after every row.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from jobs import console
from jobs.entry import guarded
from naruto_add import recipe as recipes
from naruto_add.artifact import write_json
from naruto_add.config import Recipe
from naruto_add.errors import UserError, raise_all

WARM_UP = 2
"""Steps that are not counted."""
CHILD = "--child"
"""First word of a process that trains alone."""


@dataclass(frozen=True)
class Words:
    """Measure training with several workers; leave the machine alone meanwhile."""

    workers: int = 2
    """How many, a thread each: at most the cores."""
    batch: int = 8
    """Images a worker and step."""
    steps: int = 8
    """Counted steps of each row."""
    recipe: str = "mini"
    """Whose distillation."""
    out: Path = Path("runs/bench/scaling.json")
    """The rows as JSON."""


@dataclass(frozen=True)
class Row:
    """One way to train."""

    name: str
    workers: int
    batch: int
    """Images a step, over all workers."""
    zero_stage: Literal[0, 1, 2, 3] | None = None
    """None: plain torch."""
    talking: bool = True
    """Whether the workers are of one training; else each is a process of its own."""


@dataclass(frozen=True)
class Found:
    """What came of it."""

    row: Row
    images_per_s: float
    peak_rss_mb: float
    """Of one worker."""


def rows(asked: Words) -> list[Row]:
    """What is measured, the one that the others are compared with first."""
    many, each = asked.workers, asked.batch
    return [
        Row("one worker", 1, each),
        Row("processes that never talk", many, many * each, talking=False),
        Row("workers, the same batch each", many, many * each),
        Row("workers, the same batch in all", many, each),
        *(Row(f"workers, ZeRO {stage}", many, many * each, stage) for stage in (0, 1, 2, 3)),
    ]


def main(words: Sequence[str]) -> None:
    """Measure, write, show; raises UserError for numbers that cannot be."""
    if words[:1] == [CHILD]:
        train(Row(**json.loads(words[1])), recipes.load(words[2]), int(words[3]), Path(words[4]), Path(words[5]))
        return
    asked = tyro.cli(Words, prog="python -m jobs.bench_scaling", args=list(words))
    checked(asked)
    recipe, found = recipes.load(asked.recipe), list[Found]()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shards = prepared(recipe, asked, Path(folder))
        for number, row in enumerate(rows(asked)):
            found.append(measured(row, recipe, asked, shards, Path(folder) / str(number)))
            console.say("measured", f"{row.name}: {found[-1].images_per_s:.3g} images/s", **asdict(found[-1]))
            write_json(asked.out, {"machine": machine(), "rows": [asdict(each) for each in found]})
    Console(width=None if console.watched() else 160).print(table(found))


def checked(asked: Words) -> None:
    """Raise UserError for what cannot be."""
    numbers = {"--workers": asked.workers - 1, "--batch": asked.batch, "--steps": asked.steps}
    problems = [f"{name} is too small." for name, value in numbers.items() if value < 1]
    if asked.batch % max(asked.workers, 1):
        problems.append(f"--batch {asked.batch}: must be a multiple of --workers {asked.workers}.")
    if asked.workers > recipes.cores():
        problems.append(f"--workers {asked.workers}: this machine has {recipes.cores()} cores.")
    if asked.out.is_dir():
        problems.append(f"--out {asked.out} is a folder; name a file.")
    raise_all(problems)


def machine() -> dict[str, Any]:
    """Processor, versions, cores and load."""
    import torch

    from jobs.measuring.machine import cores_and_load
    from naruto_add.evaluation.hardware import describe_hardware

    return {**describe_hardware(torch.device("cpu")), **cores_and_load()}


def prepared(recipe: Recipe, asked: Words, folder: Path) -> Path:
    """A few images, as many as the largest batch."""
    from naruto_add.data.prepare import prepare

    shards = folder / "shards"
    shards.mkdir()
    prepare(replace(recipe.data, num_images=asked.workers * asked.batch, num_heldout=4), recipe.seed, shards)
    return shards


def measured(row: Row, recipe: Recipe, asked: Words, shards: Path, folder: Path) -> Found:
    """Train so for some steps, and read what rank 0 noted."""
    folder.mkdir()
    steps = asked.steps + WARM_UP
    if row.talking:
        train(row, recipe, steps, shards, folder / "work")
        notes = [noted(folder / "work")]
    else:
        notes = apart(row, asked.recipe, steps, shards, folder)
    rates, peaks = zip(*notes, strict=True)
    return Found(row, sum(rates), max(peaks))


def apart(row: Row, recipe: str, steps: int, shards: Path, folder: Path) -> list[tuple[float, float]]:
    """The same with a process for each worker, started together."""
    alone = json.dumps(asdict(replace(row, workers=1, batch=row.batch // row.workers)))
    works = [folder / f"work-{number}" for number in range(row.workers)]
    words = [sys.executable, "-m", "jobs.bench_scaling", CHILD, alone, recipe, str(steps), str(shards)]
    children = [subprocess.Popen([*words, str(work)], stdout=subprocess.DEVNULL) for work in works]
    codes = [child.wait() for child in children]
    if any(codes):
        raise UserError("a process that trains alone failed; its message is above.")
    return [noted(work) for work in works]


def train(row: Row, recipe: Recipe, steps: int, shards: Path, work: Path) -> None:
    """Distill the recipe's base itself: through Ray Train, or for processes that never talk in this one."""
    from naruto_add.models.folder import base_folder
    from naruto_add.on_ray.train import train_student

    images = steps * row.batch
    optim = replace(
        recipe.distill.optim, batch_size=row.batch, accumulation=1, images=images, checkpoint_images=images,
        preview_images=images,
    )  # fmt: skip
    compute = replace(
        recipe.compute, launcher="ray" if row.talking else "inline", workers=row.workers, finetune_workers=None,
        threads_per_worker=1, zero_stage=row.zero_stage,
    )  # fmt: skip
    base = base_folder(recipe.teacher.base, recipe.teacher.revision)
    varied = replace(recipe, prompts=recipe.prompts[:1], distill=replace(recipe.distill, optim=optim), compute=compute)
    train_student(varied, base, shards, work, None)


def noted(work: Path) -> tuple[float, float]:
    """Images a second by the median step, and the peak memory in MB."""
    lines = (work / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines][WARM_UP:]
    return statistics.median(r["images_per_s"] for r in records), max(r["peak_rss_mb"] for r in records)


def table(found: Sequence[Found]) -> Table:
    """The rows, beside one worker and beside what the machine gives to processes that never talk."""
    shown = Table(title=f"{machine()['processor']}, {recipes.cores()} cores, {time.strftime('%Y-%m-%d')}")
    for heading in ("way", "workers", "images a step", "images/s", "of one worker", "of the machine", "MB a worker"):
        shown.add_column(heading)
    one, limit = found[0].images_per_s, found[1].images_per_s
    for each in found:
        row, rate = each.row, each.images_per_s
        ratios = f"{rate / one:.2f}", f"{rate / limit:.2f}"
        shown.add_row(row.name, str(row.workers), str(row.batch), f"{rate:.3g}", *ratios, f"{each.peak_rss_mb:.0f}")
    return shown


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

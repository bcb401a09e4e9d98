"""`python -m jobs.bench_gpu`: what one GPU does with the true architectures, beside what `naruto-add plan` says.

Weights and images are random, which costs the same time and memory as real ones: nothing has to be downloaded. For each
recipe a fine-tuning step and an ADD step with its own settings, but for one GPU, one micro-batch and plain torch; then
a picture of the student beside its teacher's. `mini` also with its passes replayed (compute.cuda_graphs). Results go to
`--out` after every row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.table import Table

from jobs import console
from jobs.entry import guarded
from naruto_add.artifact import write_json
from naruto_add.errors import UserError

if TYPE_CHECKING:
    from jobs.measuring import gpu

RECIPES = ("mini", "sd15", "sd21")


@dataclass(frozen=True)
class Words:
    """Measure training and drawing on one GPU."""

    recipes: tuple[str, ...] = RECIPES
    """Whose base, sizes and settings."""
    micro_batches: tuple[int, ...] = ()
    """Images a step; default: the recipe's own, and four times as many."""
    steps: int = 5
    """Of which the median is taken, after three that are not counted."""
    device: str = "cuda"
    """cpu: to see that it runs."""
    out: Path = Path("runs/bench/gpu.json")
    """The rows as JSON."""


def main(words: Sequence[str]) -> None:
    """Measure, write, show; raises UserError where there is no GPU."""
    asked = tyro.cli(Words, prog="python -m jobs.bench_gpu", args=list(words))
    import torch

    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("torch sees no GPU here: run this where there is one, or see that it runs with --device cpu.")
    from jobs.measuring import gpu

    found: list[gpu.Measured] = []
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    machine = gpu.machine(torch.device(asked.device))
    for row in planned(asked):
        found.append(row())
        write_json(asked.out, {"machine": machine, "rows": [asdict(each) for each in found]})
        latest = found[-1]
        text = f"{latest.recipe}: {latest.what}, {latest.images} images: {latest.value:.4g} {latest.unit}"
        console.say("measured", text, **asdict(latest))
    Console(width=None if console.watched() else 160).print(table(found, machine))


def planned(asked: Words) -> list[Callable[[], gpu.Measured]]:
    """What is to be measured, in order; each builds its networks and lets them go."""
    from jobs.measuring import gpu

    return [row for name in asked.recipes for row in gpu.rows(name, asked.micro_batches, asked.steps, asked.device)]


def table(found: Sequence[gpu.Measured], machine: dict[str, object]) -> Table:
    """The rows, with their share of the GPU's peak and their memory beside the plan's."""
    shown = Table(title=", ".join(f"{name} {value}" for name, value in machine.items()))
    for heading in ("recipe", "what", "images a step", "value", "TFLOP/s", "peak GiB", "planned GiB"):
        shown.add_column(heading)
    for row in found:
        tflops = "" if row.tflops is None else f"{row.tflops:.3g}"
        planned_gib = "" if row.planned_gib is None else f"{row.planned_gib:.2f}"
        value = f"{row.value:.4g} {row.unit}"
        shown.add_row(row.recipe, row.what, str(row.images), value, tflops, f"{row.peak_gib:.2f}", planned_gib)
    return shown


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

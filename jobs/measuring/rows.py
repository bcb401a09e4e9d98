"""The rows of the benchmark: name, unit, peer, bar, and the function that sets it up. Light: no torch is imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from naruto_add.errors import raise_all
from naruto_add.recipe import nearest

if TYPE_CHECKING:
    from jobs.measuring.alternate import Pair
    from jobs.measuring.setting import Setting

Unit = Literal["images/s", "GFLOP/s", "dB", "s", "MB", "kB/image", "%", "exponent"]
MORE_IS_BETTER = ("images/s", "GFLOP/s", "dB")
"""Units of rates and of likeness; of all others less is better."""


@dataclass(frozen=True)
class Row:
    """One thing to measure, and beside what."""

    name: str
    title: str
    unit: Unit
    function: str
    """`module.function` of `jobs.measuring` that sets it up; words after it are its arguments."""
    peer: str | None = None
    """What it is compared with, measured in the same unit; None: nothing."""
    limit: float | None = None
    """The bar: the least ratio over the peer; without a peer what the value may be at most, or must be at least where
    more is better; None: for information."""
    most_repeats: int | None = None
    """Fewer than asked for, where one measurement takes long."""
    needs: str | None = None
    """A package without which it cannot be measured."""

    @property
    def bar(self) -> str | None:
        """The limit in words."""
        if self.limit is None:
            return None
        if self.peer is not None:
            return f"ratio >= {self.limit:g}"
        return f"{'>=' if self.unit in MORE_IS_BETTER else '<='} {self.limit:g} {self.unit}"

    def set_up(self, setting: Setting) -> Pair:
        """Build what is measured."""
        function, words = self.found()
        return function(setting, *words)

    def found(self) -> tuple[Callable[..., Pair], list[str]]:
        """The function that builds what is measured, its module imported only now, and its words."""
        function, *words = self.function.split()
        module, _, name = function.partition(".")
        return getattr(importlib.import_module(f"jobs.measuring.{module}"), name), words

    def ratio(self, value: float, peer: float) -> float:
        """How many times better than the peer: of rates ours / peer, of times and memory peer / ours."""
        return value / peer if self.unit in MORE_IS_BETTER else peer / value

    def clears(self, value: float, ratio: float | None) -> bool:
        """Whether the bar is reached."""
        assert self.limit is not None, f"{self.name} has no bar"
        if ratio is not None:
            return ratio >= self.limit
        return value >= self.limit if self.unit in MORE_IS_BETTER else value <= self.limit


TEACHER_100, TEACHER_25, LCM = "teacher, 100 steps, guided", "teacher, 25 steps, guided", "LCM: whole UNet, 4 steps"
FIDELITY = "torch_fidelity"
RECIPE, BF16 = "diffusers' train_text_to_image", "the same, --mixed_precision bf16"
SAME = "the same in fp32"

ROWS = (
    # training
    Row("add", "ADD step under training.loop", "images/s", "training.add", "bare loop, same arithmetic", 0.93, 3),
    Row("finetune", "fine-tuning, latents and text cached", "images/s", "training.finetune fp32", RECIPE, 2, 3),
    Row("finetune-bf16", "fine-tuning, latents and text cached", "images/s", "training.finetune bf16", BF16, None, 3),
    Row("wait", "ADD: share of time spent waiting for data", "%", "training.wait", limit=2, most_repeats=3),
    Row("checkpoint", "ADD: share of time for checkpoints", "%", "saving.share", limit=2, most_repeats=3),
    Row("checkpoint-wait", "a checkpoint: training goes on", "s", "saving.wait", "it is whole", most_repeats=3),
    Row("feed", "training rows read, images too", "images/s", "training.feed", "ADD step", 20, 3),
    Row("flops-fp32", "UNet training step, fp32", "GFLOP/s", "training.flops fp32", "matrix product, fp32", 0.6),
    Row("flops-bf16", "UNet training step, bf16", "GFLOP/s", "training.flops bf16", "matrix product, bf16", 0.6),
    Row("bf16", "UNet training step, bf16", "images/s", "training.bf16", SAME),
    Row("unet-profile", "UNet training step, fp32, by operation", "s", "profile.operations fp32", most_repeats=3),
    Row("profile", "one ADD step, by part", "s", "profile.parts_of_add", most_repeats=5),
    Row("recipe-profile", "one step of diffusers' recipe, by part", "s", "profile.parts_of_recipe", most_repeats=3),
    # drawing
    Row("student-4", "student, 4 steps", "s", "drawing.one 4 teacher 100", TEACHER_100, 60, 3),
    Row("student-1", "student, 1 step", "s", "drawing.one 1 teacher 100", TEACHER_100, 150, 3),
    Row("student-4-25", "student, 4 steps", "s", "drawing.one 4 teacher 25", TEACHER_25),
    Row("student-1-25", "student, 1 step", "s", "drawing.one 1 teacher 25", TEACHER_25),
    Row("student-4-lcm", "student, 4 steps", "s", "drawing.one 4 lcm 4", LCM),
    Row("batch-8", "student, 4 steps, batch 8", "images/s", "drawing.batch 8", LCM, most_repeats=5),
    Row("batch-32", "student, 4 steps, batch 32", "images/s", "drawing.batch 32", LCM, most_repeats=3),
    Row("served", "the endpoint's model, 4 steps", "s", "served.picture", "the bundle in eager diffusers", 2),
    Row("served-4", "the endpoint's model, 4 steps", "s", "served.beside_teacher 4 100", TEACHER_100, 60, 3),
    Row("served-1", "the endpoint's model, 1 step", "s", "served.beside_teacher 1 100", TEACHER_100, 150, 3),
    Row("served-likeness", "the endpoint's picture beside diffusers'", "dB", "served.likeness", None, 40, 2),
    Row("memory-1", "memory for a picture, student", "MB", "drawing.memory 1", TEACHER_25, most_repeats=5),
    Row("memory-8", "memory for a batch of 8, student", "MB", "drawing.memory 8", TEACHER_25, most_repeats=3),
    Row("memory-32", "memory for a batch of 32, student", "MB", "drawing.memory 32", TEACHER_25, most_repeats=2),
    Row("first-image", "first image of a new process", "s", "starting.first_image", limit=8, most_repeats=2),
    # data
    Row("prepare", "preparing images, one process", "images/s", "reading.prepare", "Pillow: decode and resize alone"),
    Row("prepare-pool", "preparing images, Ray", "images/s", "spread.images", "process pool, tar of JPEG", None, 3),
    Row("prepare-memory", "memory of preparing, one more image", "kB/image", "reading.memory", None, 5, 1),
    # evaluation
    Row(
        "features",
        "features of pictures, one thread",
        "images/s",
        "scoring.features",
        "torch-fidelity, same network",
        1,
        3,
        FIDELITY,
    ),
    Row(
        "statistics",
        "features to Frechet distance, one thread",
        "s",
        "scoring.statistics",
        "torch-fidelity",
        1,
        5,
        FIDELITY,
    ),
    Row("scores", "Frechet distance beside torch-fidelity's", "%", "scoring.difference", None, 0.1, 1, FIDELITY),
    # growth
    Row("grow-images", "preparing: time, images", "exponent", "growth.images", None, 1.1, 2),
    Row("grow-batch", "drawing: time, batch", "exponent", "growth.batch", None, 1.1, 3),
    Row("grow-pixels", "drawing: time, pixels", "exponent", "growth.pixels", None, 1.1, 3),
    Row("grow-unet", "UNet: time, parameters", "exponent", "growth.unet", None, 1.1, 3),
    Row("grow-step", "training step: time, batch", "exponent", "growth.step", None, 1.1, 3),
    Row("grow-memory-batch", "drawing: memory, batch", "exponent", "growth.memory_batch", None, 1.1, 2),
    Row("grow-memory-pixels", "drawing: memory, pixels", "exponent", "growth.memory_pixels", None, 1.1, 2),
    # starting
    Row("help", "naruto-add --help", "s", "starting.command_help", None, 0.6, 5),
    Row("warm-run", "naruto-add run, nothing to do", "s", "starting.warm_run", None, 5, 3),
    Row("first-step", "naruto-add distill to its first step", "s", "starting.first_step", None, 30, 1),
)


def chosen(names: Sequence[str]) -> list[Row]:
    """The named rows in the table's order, all without names; raises UserError for names that are none."""
    known = [row.name for row in ROWS]
    raise_all([f"--only {name}: no such row{nearest(name, known)}" for name in names if name not in known])
    rows = [row for row in ROWS if not names or row.name in names]
    raise_all([*filter(None, map(lacking, rows))])
    return rows


def lacking(row: Row) -> str | None:
    """What this machine lacks for a row."""
    if row.needs is not None and importlib.util.find_spec(row.needs) is None:
        return f"row {row.name} needs the package {row.needs}: pip install {row.needs}, or name other rows with --only."
    if row.unit in ("MB", "kB/image") and sys.platform != "linux":
        return f"row {row.name} measures memory, which only Linux tells; name other rows with --only."
    return None

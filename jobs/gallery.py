"""`python -m jobs.gallery --run RUN`: the README's picture, the golden prompts drawn by a run's teacher and student."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from jobs.entry import guarded
from jobs.stages import opened
from naruto_add import recipe as recipes
from naruto_add.config import Recipe

if TYPE_CHECKING:
    from torch import Tensor

GALLERY = Path(__file__).parents[1] / "naruto_add" / "assets" / "mini" / "gallery" / "golden.jpg"
TEACHER_STEPS, STUDENT_STEPS = (50, 4), (4, 2, 1)
FIGURE_INCHES = (9.0, 8.2)


@dataclass(frozen=True)
class Words:
    """Draw the golden prompts of a run: a row per prompt and noise, a column per model and number of steps."""

    run: Path
    """The run whose teacher and student draw."""
    recipe: str = "mini"
    """Where the prompts, the guidance and the seed come from."""
    out: Path = GALLERY
    """The JPEG to write."""


def main(words: Sequence[str]) -> None:
    """Draw, lay out, write."""
    asked = tyro.cli(Words, prog="jobs.gallery", args=list(words))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    recipe = recipes.load(asked.recipe)
    lay_out(list(columns(asked.run, recipe)), recipe.prompts, asked.out)


def columns(run: Path, recipe: Recipe) -> Iterator[tuple[str, Tensor]]:
    """A heading and the pictures below it, as arrays (H, W, 3), for each column."""
    import torch

    from naruto_add.data.shards import Shards
    from naruto_add.evaluation.painters import Easel, FewStepPainter, GuidedPainter
    from naruto_add.models.load import load_components

    easel = Easel(Shards(run / "shards").size_px, torch.device("cpu"))
    student, teacher = opened(run, "student"), opened(run, "teacher")
    timesteps = student.manifest.config["distill"]["student_timesteps"]
    guided = GuidedPainter("teacher", load_components(teacher.path), easel, recipe.evaluate.guidance_scale)
    few_step = FewStepPainter("student", load_components(student.path), easel, timesteps)
    for painter, steps in [(guided, steps) for steps in TEACHER_STEPS] + [(few_step, steps) for steps in STUDENT_STEPS]:
        images = painter.draw(recipe.prompts, range(len(recipe.prompts)), steps, recipe.seed)
        yield f"{painter.name}, {steps} steps" if steps > 1 else f"{painter.name}, 1 step", images.permute(0, 2, 3, 1)


def lay_out(columns: Sequence[tuple[str, Tensor]], prompts: Sequence[str], out: Path) -> None:
    """One picture: headings above the columns, each prompt above its row."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=FIGURE_INCHES, layout=ConstrainedLayoutEngine(h_pad=0.14, w_pad=0.03, rect=(0, 0, 1, 0.98)))
    axes = figure.subplots(len(prompts), len(columns), squeeze=False)
    for row, prompt in enumerate(prompts):
        heading = axes[row][0].text(0, 1.03, prompt, transform=axes[row][0].transAxes, va="bottom", fontsize=9)
        heading.set_in_layout(False)  # it may reach over the columns beside it
        for axis, (_, images) in zip(axes[row], columns, strict=True):
            axis.imshow(images[row], interpolation="lanczos")
            axis.set_axis_off()
    for axis, (heading, _) in zip(axes[-1], columns, strict=True):
        axis.text(0.5, -0.04, heading, transform=axis.transAxes, ha="center", va="top", fontsize=9)
    figure.savefig(out, dpi=110, pil_kwargs={"quality": 90, "optimize": True})


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

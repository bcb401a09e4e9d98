"""`python -m jobs.ablate --recipe NAME_OR_FILE --run DIR`: which choices matter, each trained and scored several times.

One `prepare` and `finetune`, or those of another run; then for each variant and seed a `distill` and its scores.
Stopped anywhere, the same command goes on; `--run` gets ablation.json, ablation.md and ablation.png after every
training.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jobs import console
from jobs.ablation import variants as varied
from jobs.ablation.variants import Variant
from jobs.arguments import StageWords, parse_words
from jobs.entry import run_verb
from jobs.stages import occupied
from naruto_add.artifact import write_json
from naruto_add.config import Recipe

if TYPE_CHECKING:
    from jobs.ablation.cells import Ground
    from jobs.ablation.table import Cells


VARIANTS_HELP = (
    "Variants by name (default: all that fit the recipe; what they are compared with is trained too): "
    f"{', '.join(varied.VARIANTS)}."
)


@dataclass(frozen=True, kw_only=True)
class AblateWords(StageWords):
    """Arguments of `ablate`."""

    variants: Annotated[tuple[str, ...], tyro.conf.arg(help=VARIANTS_HELP)] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings; intervals are over them."""
    images: int | None = None
    """Training images of the recipe itself; default: distill.optim.images."""
    num_images: int | None = None
    """Held-out captions drawn and scored; default: evaluate.num_images."""
    equal: Literal["images", "time"] = "images"
    """What the variants share: the number of training images, or the time of the training steps."""
    teacher_run: Path | None = None
    """Take shards and teacher from this run (it is only read) instead of making them."""

    def flags(self) -> dict[str, list[str]]:
        """See `StageWords.flags`."""
        return {} if self.num_images is None else {"evaluate.num_images": [str(self.num_images)]}

    def problems(self, recipe: Recipe) -> list[str]:
        """See `StageWords.problems`."""
        found = list(varied.problems(self.variants, recipe))
        if self.images is not None and self.images < 1:
            found.append(f"--images {self.images}: at least one.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            found.append(f"--seeds {' '.join(map(str, self.seeds))}: give different numbers from 0 on.")
        return found


def main(words: Sequence[str]) -> None:
    """Check everything, train and score every variant, write the table."""
    asked = parse_words("ablate", words, AblateWords)
    recipe, own = asked.recipe, asked.words
    variants = varied.chosen(own.variants, recipe)
    check(recipe, own, variants)
    from jobs.ablation.cells import budgets, lay_ground, yardsticks

    most = own.images or recipe.distill.optim.images
    with occupied(own.folder):
        ground = lay_ground(recipe, own.folder, own.teacher_run)
        images = budgets(ground, variants, most, own.equal == "time", own.seeds[0])
        record = heading(recipe, own, most) | {"yardsticks": yardsticks(ground)}
        for cells, collapsed in trainings(ground, variants, images, own.seeds):
            write(record | {"collapsed": collapsed}, ground, variants, cells)
    console.say("ablation", f"{own.folder}/ablation.md, ablation.json, ablation.png", out=str(own.folder))


def check(recipe: Recipe, own: AblateWords, variants: Sequence[Variant]) -> None:
    """Raise UserError for what can be known to be wrong before the first training."""
    from jobs.preflight import before_distill, preflight

    if own.teacher_run is None:
        preflight(recipe, own.folder)
    else:
        before_distill(recipe)
    for variant in variants:
        if not variant.offline:
            from naruto_add.models.features import load_features

            load_features(variant.changes["distill.features"])


def trainings(
    ground: Ground, variants: Sequence[Variant], images: Mapping[str, int], seeds: Sequence[int]
) -> Iterator[tuple[Cells, list[dict[str, Any]]]]:
    """Train and score everything, seed by seed, so that a whole table is there early; yields all there is so far."""
    from jobs.ablation.cells import attempt

    cells: dict[str, dict[int, dict[str, Any]]] = {}
    collapsed: list[dict[str, Any]] = []
    for seed in seeds:
        for variant in variants:
            console.say("variant", f"{variant.name}, seed {seed}", variant=variant.name, seed=seed)
            found, why = attempt(ground, variant, images[variant.name], seed)
            if found is None:
                collapsed.append({"variant": variant.name, "seed": seed, "why": why})
            else:
                cells.setdefault(variant.name, {})[seed] = found
            yield cells, collapsed


def heading(recipe: Recipe, own: AblateWords, images: int) -> dict[str, Any]:
    """What the table is about."""
    return {
        "recipe": recipe.name, "equal": own.equal, "images": images, "seeds": list(own.seeds),
        "num_images": recipe.evaluate.num_images,
    }  # fmt: skip


def write(record: dict[str, Any], ground: Ground, variants: Sequence[Variant], cells: Cells) -> None:
    """The three files, of what is there so far; nothing if all has collapsed."""
    from jobs.ablation.table import draw, make_row, markdown

    rows = [make_row(v, cells, varied.judges_itself(ground.recipe, v)) for v in variants if v.name in cells]
    if not rows:
        return
    record = record | {"rows": rows}
    write_json(ground.run / "ablation.json", record)
    (ground.run / "ablation.md").write_text(markdown(record), encoding="utf-8")
    draw(record, ground.run / "ablation.png")


if __name__ == "__main__":
    sys.exit(run_verb("ablate", sys.argv[1:]))

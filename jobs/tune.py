"""`naruto-add tune`, or `ray job submit ... -- python -m jobs.tune`: a sweep over the distillation's settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from jobs import console
from jobs.arguments import StageWords, parse_words
from jobs.entry import run_verb
from jobs.stages import occupied, opened
from naruto_add.config import Recipe
from naruto_add.export.card import figure
from naruto_add.on_ray import capacity
from naruto_add.sweep import space as spaces
from naruto_add.sweep.rungs import rung_images

SHOWN_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class TuneWords(StageWords):
    """Arguments of `tune`. It needs the run's shards and teacher, and leaves RUN/sweep with best.yaml in it."""

    space: str = "weights"
    """What to vary: a shipped space (weights, weighting) or the path of a YAML file."""
    trials: int = 12
    """Students to train, the first with the recipe's own settings. More than before goes on with the same sweep."""
    parallel: int | None = None
    """Trials at once. Default: as many as the cluster holds."""
    rung_images: int | None = None
    """Images after which students are first compared. Default: so that there are three rungs."""
    reduction: int = 2
    """One student in so many goes on from a rung, and the next rung is so many times farther."""

    def problems(self, recipe: Recipe) -> list[str]:
        """See `StageWords.problems`."""
        sizes = (("trials", 2), ("parallel", 1), ("rung_images", 1), ("reduction", 2))
        wrong = [
            f"--{name.replace('_', '-')} must be at least {least}, not {number}."
            for name, least in sizes
            if (number := getattr(self, name)) is not None and number < least
        ]
        space, unsaid = spaces.read(self.space, recipe)
        wrong += unsaid
        if space is not None and not wrong:
            crossed = spaces.crossed(space.draw(self.trials - 1, recipe.seed), recipe)
            wrong += [f"--space {self.space}: in some trials, {problem}" for problem in crossed]
        return wrong + capacity.check_sweep(recipe.compute, self.parallel)

    def rungs(self, recipe: Recipe) -> tuple[int, ...]:
        """Images after which students are compared."""
        return rung_images(recipe.distill.optim, self.rung_images, self.reduction)


def main(words: Sequence[str]) -> None:
    """Check everything, sweep, and show what came of it."""
    arguments = parse_words("tune", words, TuneWords)
    recipe, run, asked = arguments.recipe, arguments.run, arguments.words
    from jobs.preflight import before_distill

    before_distill(recipe)
    with occupied(run):
        teacher, shards = opened(run, "teacher"), opened(run, "shards")
        from jobs.sweep import SWEEP, Sweep, tune

        space, _ = spaces.read(asked.space, recipe)
        assert space is not None, "the arguments have been checked"
        sweep = Sweep(recipe, run, space, asked.rungs(recipe), asked.reduction, teacher, shards)
        made = tune(sweep, asked.trials, asked.parallel)
    show(json.loads((made.path / SWEEP).read_text(encoding="utf-8")), str(made.path))


def show(found: Mapping[str, Any], place: str) -> None:
    """The table of trials and the verdict: on stdout for a person, else as JSON there and as text on stderr."""
    verdict = found["verdict"]["text"] if found["verdict"] else "Only one trial came to the end."
    if not console.watched():
        console.say("sweep", "", path=place, verdict=found["verdict"], trials=found["trials"])
    screen = console.screen(stderr=not console.watched())
    screen.print(table(found["trials"]))
    screen.print(f"{verdict}\n\nThe best recipe: {place}/best.yaml", highlight=False, markup=False, soft_wrap=True)


def table(trials: Sequence[Mapping[str, Any]]) -> Table:
    """A line a trial, those that came farthest first."""
    settings = list(trials[0]["settings"])
    drawn = Table(title=f"Trials, N = {trials[0]['n']} pictures a distance", title_justify="left")
    names = [name.removeprefix("distill.") for name in settings]
    for heading in ("trial", *names, "FD", "KD", "images", "seconds", ""):
        drawn.add_column(heading, justify="right")
    for row in trials:
        values = [value_text(row["settings"][name]) for name in settings]
        scores = [figure(row["fd_real"]), figure(row["kid_real"]), f"{row['images']:,}", f"{row['seconds']:,.0f}"]
        drawn.add_row(str(row["trial"]), *values, *scores, row["verdict"])
    return drawn


def value_text(value: Any) -> str:
    """A setting's value in few characters."""
    return f"{value:.{SHOWN_DIGITS}g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(run_verb("tune", sys.argv[1:]))

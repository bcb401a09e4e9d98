"""`naruto-add tune`, or `ray job submit ... -- python -m jobs.tune`: a sweep over the distillation's settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

from jobs import console
from jobs.arguments import StageWords, parse_words
from jobs.entry import run_verb
from jobs.stages import occupied, opened
from naruto_add.config import Recipe
from naruto_add.export.card import figure
from naruto_add.on_ray import capacity
from naruto_add.sweep import space as spaces
from naruto_add.sweep.population import CHANGEABLE, Pbt, changeable, even_rungs
from naruto_add.sweep.rungs import Halving, rung_images

SHOWN_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class TuneWords(StageWords):
    """Arguments of `tune`. It needs the run's shards and teacher, and leaves RUN/sweep with best.yaml in it."""

    space: str = "weights"
    """What to vary: a shipped space (near, weights, weighting) or the path of a YAML file."""
    scheduler: Literal["asha", "pbt"] = "asha"
    """asha: the worse half is stopped at each rung. pbt: there the worst take over what the best have learnt and go on
    with slightly other settings, so that what is found is a schedule of settings, and the recipe its last ones."""
    trials: int = 12
    """Students to train, the first with the recipe's own settings. With asha, more than before goes on with the same
    sweep."""
    parallel: int | None = None
    """Trials at once. Default: as many as the cluster holds."""
    rung_images: int | None = None
    """asha: images after which students are first compared; default: so that there are three rungs. pbt: a rung every
    so many images; default: four rungs."""
    reduction: int | None = None
    """asha: one student in so many goes on from a rung, and the next rung is so many times farther; default: 2."""
    quantile: float | None = None
    """pbt: share of the students that are replaced at a rung, and of those that they take over from; default: 0.25."""
    resample: float | None = None
    """pbt: chance of a setting to be drawn anew instead of moving a little; default: 0.25."""
    confirm_seeds: int = 0
    """Train the best settings and the recipe's own anew at the end, with so many other seeds, to know whether the
    settings differ and not only two students. Two whole trainings a seed; 3 give an interval worth the name."""

    def problems(self, recipe: Recipe) -> list[str]:
        """See `StageWords.problems`."""
        wrong = [*self.sizes(), *self.strangers()]
        space, unsaid = spaces.read(self.space, recipe)
        wrong += unsaid
        if space is not None and not wrong:
            crossed = spaces.crossed(space.draw(self.trials - 1, recipe.seed), recipe)
            wrong += [f"--space {self.space}: in some trials, {problem}" for problem in crossed]
            wrong += self.standstill(space, recipe)
        return wrong + capacity.check_sweep(recipe.compute, self.parallel)

    def sizes(self) -> Iterator[str]:
        """Numbers that are too small or too large."""
        for name, least in (("trials", 2), ("parallel", 1), ("rung_images", 1), ("reduction", 2), ("confirm_seeds", 0)):
            number = getattr(self, name)
            if number is not None and number < least:
                yield f"--{name.replace('_', '-')} must be at least {least}, not {number}."
        if self.quantile is not None and not 0 < self.quantile <= 0.5:
            yield f"--quantile must be above 0 and at most 0.5, not {self.quantile:g}."
        if self.resample is not None and not 0 <= self.resample <= 1:
            yield f"--resample must be from 0 to 1, not {self.resample:g}."

    def strangers(self) -> Iterator[str]:
        """What the other scheduler is told."""
        for owner, names in (("asha", ("reduction",)), ("pbt", ("quantile", "resample"))):
            given = [f"--{name}" for name in names if getattr(self, name) is not None]
            if given and owner != self.scheduler:
                yield f"{' and '.join(given)}: only --scheduler {owner} asks for that, not {self.scheduler}."

    def standstill(self, space: spaces.Space, recipe: Recipe) -> Iterator[str]:
        """A population in which nothing could ever change."""
        if self.scheduler != "pbt":
            return
        if not changeable(space):
            yield (
                f"--space {self.space}: pbt changes settings in mid-training, and none of these can be. Use "
                f"--scheduler asha, or add one of {', '.join(CHANGEABLE)}."
            )
        if len(self.rungs(recipe)) < 2:
            yield f"--rung-images {self.rung_images}: pbt needs a rung before the end of training; choose fewer."

    def rungs(self, recipe: Recipe) -> tuple[int, ...]:
        """Images after which students are compared."""
        search, optim = self.search, recipe.distill.optim
        if isinstance(search, Pbt):
            return even_rungs(optim, self.rung_images)
        return rung_images(optim, self.rung_images, search.reduction)

    @property
    def search(self) -> Halving | Pbt:
        """The scheduler with what it was told."""
        told = {
            name: value for name in ("reduction", "quantile", "resample") if (value := getattr(self, name)) is not None
        }
        return Halving(**told) if self.scheduler == "asha" else Pbt(self.trials, **told)


def main(words: Sequence[str]) -> None:
    """Check everything, sweep, and show what came of it."""
    arguments = parse_words("tune", words, TuneWords)
    recipe, run, asked = arguments.recipe, arguments.run, arguments.words
    from jobs.preflight import before_distill

    before_distill(recipe)
    with occupied(run):
        teacher, shards = opened(run, "teacher"), opened(run, "shards")
        from jobs.search import tune
        from jobs.sweep import Sweep
        from naruto_add.sweep.results import SWEEP

        space, _ = spaces.read(asked.space, recipe)
        assert space is not None, "the arguments have been checked"
        sweep = Sweep(recipe, run, space, asked.rungs(recipe), asked.search, teacher, shards)
        made = tune(sweep, asked.trials, asked.parallel, asked.confirm_seeds)
    show(json.loads((made.path / SWEEP).read_text(encoding="utf-8")), str(made.path))


def show(found: Mapping[str, Any], place: str) -> None:
    """The table of trials and the verdict: on stdout for a person, else as JSON there and as text on stderr."""
    told = [part["text"] for name in ("verdict", "confirmation") if (part := found[name])]
    verdict = "\n".join(told) or "Only one trial came to the end."
    if not console.watched():
        parts = {name: found[name] for name in ("verdict", "confirmation", "trials")}
        console.say("sweep", "", path=place, **parts)
    screen = console.screen(stderr=not console.watched())
    screen.print(table(found["trials"]))
    screen.print(f"{verdict}\n\nThe best recipe: {place}/best.yaml", highlight=False, markup=False, soft_wrap=True)


def table(trials: Sequence[Mapping[str, Any]]) -> Table:
    """A line a trial, those that came farthest first."""
    settings = list(trials[0]["settings"])
    drawn = Table(title=f"Trials, N = {trials[0]['n']} pictures a distance", title_justify="left")
    names = [name.removeprefix("distill.") for name in settings]
    bred = any(len(row["lineage"]) > 1 for row in trials)
    for heading in ("trial", *names, "FD", "KD", "images", "seconds", *(["trial@image"] if bred else []), ""):
        drawn.add_column(heading, justify="right")
    for row in trials:
        values = [value_text(row["settings"][name]) for name in settings]
        scores = [figure(row["fd_real"]), figure(row["kid_real"]), f"{row['images']:,}", f"{row['seconds']:,.0f}"]
        way = [" > ".join(f"{leg['trial']}@{leg['images']}" for leg in row["lineage"])] if bred else []
        drawn.add_row(str(row["trial"]), *values, *scores, *way, row["verdict"])
    return drawn


def value_text(value: Any) -> str:
    """A setting's value in few characters."""
    return f"{value:.{SHOWN_DIGITS}g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(run_verb("tune", sys.argv[1:]))

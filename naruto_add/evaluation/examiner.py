"""Scoring models without a whole report: one reference, one set of captions and noises, any number of models after it.

`evaluate` tells how good one student is; this tells many apart, at the cost of their own pictures alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from naruto_add.config import Recipe
from naruto_add.data.shards import Shards
from naruto_add.evaluation import floors
from naruto_add.evaluation.diversity import diversity
from naruto_add.evaluation.eyes import open_eyes
from naruto_add.evaluation.generate import Gallery, Order, Prompts, Studio
from naruto_add.evaluation.judge import SHIPPED, load_judge
from naruto_add.evaluation.observe import Observer, Source
from naruto_add.evaluation.painters import Easel, Painter
from naruto_add.evaluation.plan import Numbers
from naruto_add.evaluation.progress import Meter, console_meter
from naruto_add.evaluation.scores import Score, Scorer
from naruto_add.evaluation.survey import AUTOENCODER, REAL
from naruto_add.models.bfloat16 import choose


def open_observer(recipe: Recipe, judge_path: Path = SHIPPED) -> Observer:
    """The recipe's networks on its device; raises UserError for weights that cannot be read."""
    device = torch.device("cuda" if recipe.compute.gpus_per_worker and torch.cuda.is_available() else "cpu")
    eyes = open_eyes(recipe.evaluate, device)
    judge = load_judge(judge_path, eyes.lite)
    return Observer(eyes, None if judge is None else judge.to(device), recipe.evaluate.batch_size)


def open_easel(recipe: Recipe, shards: Shards, observer: Observer) -> Easel:
    """What the models of an evaluation draw on."""
    device = observer.eyes.device
    return Easel(shards.size_px, device, bf16=choose(recipe.compute.precision, device) == "bf16")


@dataclass(frozen=True)
class Examiner:
    """Draws with a model and scores what it drew; pictures and real images' features stay in `work`."""

    recipe: Recipe
    shards: Shards
    observer: Observer
    work: Path

    @property
    def easel(self) -> Easel:
        """What models draw on."""
        return open_easel(self.recipe, self.shards, self.observer)

    def models(self, entries: Sequence[tuple[Painter, int]], meter: Meter | None = None) -> dict[str, Score]:
        """Scores of each model at each step count, by "model@steps"; what is drawn already is not drawn again."""
        captions = tuple(self.shards.captions("heldout"))
        numbers, prompts = Numbers(self.recipe.evaluate, len(captions)), Prompts("heldout", captions)
        orders = [Order(painter, steps, prompts, tuple(numbers.drawn)) for painter, steps in entries]
        studio = Studio(self.work / "images", self.recipe.seed, self.recipe.evaluate.batch_size)
        drawn = dict(zip([o.label for o in orders], studio.fill(orders, meter or console_meter()), strict=True))
        wanted = [number % numbers.captions for number in numbers.scored]
        asked = floors.wishes(self.shards, "heldout", wanted, self.observer.judge)
        sources = {name: floors.drawn(gallery, numbers.scored, asked) for name, gallery in drawn.items()}
        return self._score(sources, drawn, numbers)

    def floors(self, painter: Painter) -> dict[str, Score]:
        """What real images score, and these through the painter's autoencoder: no model can do better."""
        count, judge = self.recipe.evaluate.num_images, self.observer.judge
        numbers = Numbers(self.recipe.evaluate, self.shards.count("heldout"))
        real = floors.real(self.shards, "train", count, judge)
        return self._score(
            {REAL: real, AUTOENCODER: floors.autoencoded(self.shards, count, painter, judge)}, {}, numbers
        )

    def _score(self, sources: Mapping[str, Source], drawn: Mapping[str, Gallery], numbers: Numbers) -> dict[str, Score]:
        """Look at each source alone, with no teacher's picture beside it."""
        alone = {name: replace(source, beside_teacher=False) for name, source in sources.items()}
        observed = self.observer.observe(alone, next(iter(alone)))
        real = floors.real_features(
            self.shards, "heldout", self.shards.count("heldout"), self.observer, self.work / "features"
        )
        scorer = Scorer(self.recipe.evaluate.bootstrap, self.recipe.seed, real)
        spread = {name: diversity(gallery, numbers.seeds, self.observer.eyes) for name, gallery in drawn.items()}
        return {
            name: Score(**scorer.score(found, teacher=None, diversity=spread.get(name)))
            for name, found in observed.items()
        }

"""Passing every picture, drawn or real, through the networks once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from naruto_add.config import Recipe
from naruto_add.data.shards import Shards
from naruto_add.evaluation import floors
from naruto_add.evaluation.diversity import diversity
from naruto_add.evaluation.generate import Gallery, label
from naruto_add.evaluation.memorisation import Memorisation, Neighbours, memorisation, nearest
from naruto_add.evaluation.observe import Observed, Observer, Source
from naruto_add.evaluation.plan import FOUNDING_PROMPTS, Cast, Numbers

REAL, AUTOENCODER, OTHER_SEED = "floor/real", "floor/autoencoder", "floor/teacher"
LEGACY_FLOOR = "legacy/floor"
"""The founding report's own comparison: the teacher at half the steps and from other noise, against the teacher."""
Galleries = Mapping[str, Gallery]


@dataclass(frozen=True)
class Setting:
    """What is evaluated, and with what eyes."""

    recipe: Recipe
    cast: Cast
    shards: Shards
    observer: Observer
    work: Path

    @property
    def captions(self) -> tuple[str, ...]:
        """The held-out captions."""
        return tuple(self.shards.captions("heldout"))

    @property
    def founding_captions(self) -> tuple[str, ...]:
        """The first training captions, as many as the founding report took, or as are scored."""
        count = min(FOUNDING_PROMPTS, self.recipe.evaluate.num_images, self.shards.count("train"))
        return tuple(self.shards.captions("train", range(count)))

    @property
    def numbers(self) -> Numbers:
        """How the pictures are numbered."""
        return Numbers(self.recipe.evaluate, self.shards.count("heldout"))


@dataclass(frozen=True)
class Drawn:
    """Every generated picture, by the label of its model and step count."""

    heldout: Galleries
    golden: Galleries
    founding: Galleries


@dataclass(frozen=True)
class Seen:
    """What the networks saw."""

    rows: Mapping[str, Observed]
    founding: Mapping[str, Observed]
    diversity: Mapping[str, Tensor]
    real: Tensor
    """Features of all held-out images: the reference."""
    memorised: Mapping[str, Memorisation]
    neighbours: Neighbours
    """Of the student's pictures."""


def look(setting: Setting, drawn: Drawn) -> Seen:
    """Pass every picture through the networks."""
    observer, cast = setting.observer, setting.cast
    reference, showpiece = label(*cast.reference), label(*cast.showpiece)
    rows = observer.observe(sources(setting, drawn), reference)
    founding = observer.observe(founding_sources(setting, drawn), reference)
    spread = {name: diversity(gallery, setting.numbers.seeds, observer.eyes) for name, gallery in drawn.heldout.items()}
    shards, folder = setting.shards, setting.work / "features"
    real = floors.real_features(shards, "heldout", shards.count("heldout"), observer, folder)
    train = floors.real_features(shards, "train", setting.recipe.evaluate.memorisation_images, observer, folder)
    close = {name: nearest(rows[name].all_features, train) for name in (showpiece, reference)}
    yardstick = nearest(real, train)
    memorised = {name: memorisation(found, yardstick, len(train)) for name, found in close.items()}
    return Seen(rows, founding, spread, real, memorised, close[showpiece])


def sources(setting: Setting, drawn: Drawn) -> dict[str, Source]:
    """All that is scored: models, then floors."""
    shards, judge, numbers = setting.shards, setting.observer.judge, setting.numbers
    count, teacher = len(numbers.scored), setting.cast.teacher
    asked = floors.wishes(shards, "heldout", [number % numbers.captions for number in numbers.scored], judge)
    models = {name: floors.drawn(gallery, numbers.scored, asked) for name, gallery in drawn.heldout.items()}
    return models | {
        REAL: floors.real(shards, "train", count, judge),
        AUTOENCODER: floors.autoencoded(shards, count, teacher, judge),
        OTHER_SEED: floors.drawn(drawn.heldout[label(*setting.cast.reference)], numbers.other_seed, asked),
    }


def founding_sources(setting: Setting, drawn: Drawn) -> dict[str, Source]:
    """The founding report's few pictures: the teacher's, and two sets from other noise."""
    count, cast = len(setting.founding_captions), setting.cast
    first, second = range(count), range(count, 2 * count)
    reference, showpiece, half = (label(*entry) for entry in (cast.reference, cast.showpiece, cast.half))
    return {
        reference: floors.drawn(drawn.founding[reference], first, None),
        f"legacy/{showpiece}": floors.drawn(drawn.founding[showpiece], second, None),
        LEGACY_FLOOR: floors.drawn(drawn.founding[half], second, None),
    }

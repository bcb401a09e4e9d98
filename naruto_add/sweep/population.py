"""Population based training (PBT; Jaderberg et al. 2017, arXiv 1711.09846), as pure functions.

All trials train to a rung. There the worst take over what the best have learnt (exploit) and go on with settings a
little beside theirs (explore). Every decision is a function of the distances, the seed and the place alone, so that a
sweep whose driver was killed decides the same again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naruto_add import recipe as recipes
from naruto_add import rng
from naruto_add.config import OptimConfig, Recipe
from naruto_add.sweep.ledger import KEEPER
from naruto_add.sweep.rungs import whole_steps
from naruto_add.sweep.space import Range, Space, recipe_of, rounded, value_of
from naruto_add.training.pace import total_images

GROW, SHRINK = 1.25, 0.8
"""What a setting on a logarithmic range is multiplied by; the one undoes the other."""
STRIDE = 0.2
"""How far a setting on a linear range moves, as a share of the range."""
DEFAULT_RUNGS = 4
CHANGEABLE = tuple(
    f"distill.{name}"
    for name in (
        "terminal_share", "simulated_share", "distill_weight", "perceptual_weight", "feature_weight", "target",
        "weighting", "teacher_guidance", "teacher_steps", "adversarial_weight", "r1_gamma", "mismatch_weight",
        "augment", "heads_learning_rate", "heads_steps", "heads_renewal", "optim.learning_rate",
        "optim.ema_images", "optim.weight_decay", "optim.max_grad_norm",
    )
)  # fmt: skip
"""What may become another in mid-training: it is in no checkpoint, and no schedule jumps with it. A learning rate is
the peak of its schedule, which goes on from where it is. Other settings of a space are taken over as they are."""


@dataclass(frozen=True)
class Leg:
    """A part of a student's way: who trained it, from which image on and with which settings."""

    trial: int
    images: int
    settings: dict[str, Any]
    """All of the space's."""


Lineage = tuple[Leg, ...]


@dataclass(frozen=True)
class Pbt:
    """What decides a population beside its space."""

    trials: int
    quantile: float = 0.25
    """Share of the trials that are replaced at a rung, and of those that they take over from."""
    resample: float = 0.25
    """Chance of a setting to be drawn anew from its range, instead of moving a little."""


def even_rungs(optim: OptimConfig, every: int | None) -> tuple[int, ...]:
    """The rungs in images seen, in whole steps: one every so many (None: four in all), and the end."""
    total = total_images(optim)
    stride = whole_steps(every or total / DEFAULT_RUNGS, optim)
    return (*range(stride, total, stride), total)


def changeable(space: Space) -> list[Range]:
    """The part of a space that can be explored in mid-training."""
    return [each for each in space.ranges if each.setting in CHANGEABLE]


def founders(drawn: Sequence[Mapping[str, Any]], recipe: Recipe, space: Space) -> dict[int, Lineage]:
    """The trials of these settings before their first step; what is not drawn is the recipe's own."""
    own = {each.setting: value_of(recipe, each.setting) for each in space.ranges}
    return {trial: (Leg(trial, 0, own | dict(settings)),) for trial, settings in enumerate(drawn)}


def takeovers(distances: Mapping[int, float | None], rules: Pbt, seed: int, images: int) -> dict[int, int]:
    """Who takes over from whom at a rung; a distance of None is that of a trial that failed.

    The worst `quantile` and all that failed take over, each from one of the best `quantile`; the recipe's own settings
    stay what they are, for all others are compared with them.
    """
    learnt = sorted((distance, trial) for trial, distance in distances.items() if distance is not None)
    failed = [trial for trial, distance in distances.items() if distance is None]
    size = min(math.ceil(len(distances) * rules.quantile), len(distances) // 2)
    best, order = [trial for _, trial in learnt[:size]], [*(trial for _, trial in learnt), *failed]
    worst = {*order[len(order) - size :], *failed} - {KEEPER}
    if not best:
        return {}
    return {trial: best[int(chance(seed, images, trial, 0, 0) * len(best))] for trial in sorted(worst)}


def exchange(
    lineages: Mapping[int, Lineage], distances: Mapping[int, float | None], images: int, recipe: Recipe, space: Space,
    rules: Pbt,
) -> dict[int, Lineage]:  # fmt: skip
    """The lineages with which the trials go on from a rung; a trial that failed and was not replaced has none."""
    taken = takeovers(distances, rules, recipe.seed, images)
    after: dict[int, Lineage] = {}
    for trial, lineage in lineages.items():
        if trial in taken:
            donor = lineages[taken[trial]]
            settings = explore(donor[-1].settings, trial, images, recipe, space, rules)
            after[trial] = (*donor, Leg(trial, images, settings))
        elif distances[trial] is not None:
            after[trial] = lineage
    return after


def explore(
    settings: Mapping[str, Any], trial: int, images: int, recipe: Recipe, space: Space, rules: Pbt
) -> dict[str, Any]:
    """Settings beside these; one whose change would contradict the others stays."""
    found = dict(settings)
    for place, each in enumerate(changeable(space), 1):
        draws = [chance(recipe.seed, images, trial, place, turn) for turn in range(2)]
        moved = found | {each.setting: beside(each, found[each.setting], draws, rules.resample)}
        if not recipes.check(recipe_of(recipe, moved)):
            found = moved
    return found


def beside(each: Range, value: Any, draws: Sequence[float], resample: float) -> Any:
    """A value drawn anew, or the next one up or down; of a choice its neighbour as written."""
    if draws[0] < resample or (each.kind == "choice" and value not in each.values):
        return each.at(draws[1])
    up = draws[1] < 0.5
    if each.kind == "choice":
        place = each.values.index(value) + (1 if up else -1)
        return each.values[min(max(place, 0), len(each.values) - 1)]
    low, high = each.values
    stride = STRIDE * (high - low)
    moved = value * (GROW if up else SHRINK) if each.kind == "loguniform" else value + (stride if up else -stride)
    if each.whole and round(moved) == value:
        moved = value + (1 if up else -1)
    return rounded(min(max(moved, low), high), each.whole)


def chance(seed: int, *position: int) -> float:
    """A number in [0, 1) at an address: images, trial, setting, turn."""
    return rng.address(seed, "population", *position) / 2**63

"""A search space as data: which settings of `distill` vary, and between what.

A space is a name (`weights`: a file of `naruto_add/recipes/spaces`) or the path of a YAML file of one's own, with lines
`setting: {loguniform | uniform | choice: [...]}`. Everything is checked against the recipe's own schema, so that no
trial can ask for what a recipe cannot say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from naruto_add import recipe as recipes
from naruto_add import rng
from naruto_add.config import Recipe
from naruto_add.errors import UserError
from naruto_add.recipe import nearest

SPACES = recipes.RECIPES / "spaces"
KINDS = ("loguniform", "uniform", "choice")
SECTION = "distill."
FIXED = (
    "distill.optim.images",
    "distill.optim.batch_size",
    "distill.optim.accumulation",
    "distill.optim.checkpoint_images",
    "distill.optim.preview_images",
    "distill.optim.gradient_checkpointing",
    "distill.student_timesteps",
    "distill.measure_images",
    "distill.measure_pictures",
    "distill.survey_pictures",
)
"""What is the same for all trials, or they could not be compared: their length, their pace, how they are measured."""
PRIMES = tuple(n for n in range(2, 200) if all(n % divisor for divisor in range(2, n)))
"""More than there are settings."""
RESOLUTION = 1e-6
DIGITS = 3
"""Of a drawn number: no finer difference could be measured."""


@dataclass(frozen=True)
class Range:
    """What one setting may be."""

    setting: str
    kind: str
    values: tuple[Any, ...]
    """Both ends, or all choices."""

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(end, int) for end in self.values)

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1) of the range."""
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = map(float, self.values)
        if self.kind == "loguniform":
            return rounded(math.exp(math.log(low) + share * math.log(high / low)), self.whole)
        return int(low + share * (high - low + 1)) if self.whole else rounded(low + share * (high - low), False)


@dataclass(frozen=True)
class Space:
    """All that varies."""

    ranges: tuple[Range, ...]

    def draw(self, count: int, seed: int) -> list[dict[str, Any]]:
        """Settings of `count` trials; those of trial n are the same for any count above n."""
        rows = [spread(n, len(self.ranges), seed) for n in range(count)]
        return [{r.setting: r.at(share) for r, share in zip(self.ranges, row, strict=True)} for row in rows]

    def to_json(self) -> dict[str, Any]:
        """As it is written in YAML."""
        return {r.setting: {r.kind: list(r.values)} for r in self.ranges}


def read(name_or_file: str | Path, recipe: Recipe) -> tuple[Space | None, list[str]]:
    """The space of a name or file, and all that is wrong with it or does not go with the recipe (then None)."""
    try:
        path = find(name_or_file)
        lines = recipes.read_yaml(path)
    except UserError as mistake:
        return None, [str(mistake)]
    ranges = [Range(str(name), *written(line)) for name, line in lines.items()]
    problems = [f"{path}: {problem}" for each in ranges for problem in complaints(each, recipe)]
    if not ranges:
        problems.append(f"{path}: an empty space; name a setting, as in distill.distill_weight: {{uniform: [1, 5]}}.")
    return (None if problems else Space(tuple(ranges))), problems


def find(name_or_file: str | Path) -> Path:
    """The file of a space; raises UserError that lists the shipped ones."""
    for path in (SPACES / f"{name_or_file}.yaml", Path(name_or_file)):
        if path.is_file():
            return path
    known = names()
    raise UserError(
        f"--space {name_or_file}: no such file, and no space of that name{nearest(str(name_or_file), known)} "
        f"Shipped: {', '.join(known)}."
    )


def names() -> list[str]:
    """The spaces that ship with the package."""
    return sorted(path.stem for path in SPACES.glob("*.yaml"))


def written(line: Any) -> tuple[str, tuple[Any, ...]]:
    """Kind and values of a line; ("", ()) where it is none. YAML takes 1e-5 for a text; here it is a number."""
    if not isinstance(line, Mapping) or len(line) != 1:
        return "", ()
    kind, values = next(iter(line.items()))
    return str(kind), tuple(map(number, values)) if isinstance(values, list) else ()


def number(value: Any) -> Any:
    """A text that is a number as that number; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def complaints(each: Range, recipe: Recipe) -> Iterator[str]:
    """What is wrong with one line."""
    name = each.setting
    if name not in recipes.settings():
        yield recipes.unknown_setting(name, name)
    elif not name.startswith(SECTION):
        yield f"{name} is no setting of the distillation, and that is what a sweep varies."
    elif name in FIXED:
        yield f"{name} is the same for all trials, or they could not be compared; set it in the recipe."
    elif each.kind not in KINDS:
        yield f"{name}: write {{KIND: [...]}} with a kind of {', '.join(KINDS)}{nearest(each.kind, list(KINDS))}"
    else:
        yield from impossible(each, recipe)


def impossible(each: Range, recipe: Recipe) -> Iterator[str]:
    """Ends that are none, and values that the schema refuses."""
    if each.kind == "choice" and not each.values:
        yield f"{each.setting}: a choice of nothing."
    elif each.kind != "choice" and not is_interval(each):
        above = " above 0" if each.kind == "loguniform" else ""
        yield f"{each.setting}: {each.kind} takes [low, high], two numbers{above}, the lower one first."
    else:
        for value in each.values:
            _, errors = recipes.validate(recipes.laid_over(asdict(recipe), {each.setting: value}))
            yield from (recipes.explain(error, Path()) for error in errors)


def is_interval(each: Range) -> bool:
    """Whether the values are the two ends of what is to be drawn from."""
    numbers = [value for value in each.values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(each.values) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        return False
    low, high = numbers
    return low < high and (low > 0 or each.kind == "uniform")


def spread(row: int, dimensions: int, seed: int) -> list[float]:
    """Point `row` of a sequence in [0, 1)^d that covers it more evenly than independent draws would.

    Randomised Halton (Owen 2017, arXiv 1706.02808): the digits of `row` in a prime base of each dimension's own, every
    digit permuted as the seed says, mirrored at the point.
    """
    return [radical_inverse(row, PRIMES[place], place, seed) for place in range(dimensions)]


def radical_inverse(row: int, base: int, place: int, seed: int) -> float:
    """One dimension of `spread`."""
    share, weight, level = 0.0, 1.0 / base, 0
    while weight > RESOLUTION:
        order = sorted(range(base), key=lambda digit: rng.address(seed, "sweep", place, level, digit))
        share += order[row % base] * weight
        row, weight, level = row // base, weight / base, level + 1
    return share


def rounded(value: float, whole: bool) -> float | int:
    """To a whole number or to `DIGITS` digits."""
    return round(value) if whole else float(f"{value:.{DIGITS}g}")


def value_of(recipe: Recipe, setting: str) -> Any:
    """What a setting is in a recipe."""
    place: Any = recipe
    for part in setting.split("."):
        place = getattr(place, part)
    return place


def recipe_of(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings over it, which are known to be possible one by one."""
    made, errors = recipes.validate(recipes.laid_over(asdict(recipe), settings))
    assert made is not None, errors
    return made


def crossed(drawn: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[str]:
    """What is wrong between the settings of trials, each complaint once; the recipe itself is known to be in order."""
    found = [problem for settings in drawn for problem in recipes.check(recipe_of(recipe, settings))]
    return list(dict.fromkeys(found))

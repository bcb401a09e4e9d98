"""Which pictures an evaluation draws, and which numbers they have.

A picture's number is caption + seed x captions, so that number n shows caption n modulo the number of captions. The
first `num_images` numbers are scored. Further seeds of the first captions measure diversity. The numbers of the first
seed that is not scored make the teacher's other-seed floor, so they often serve diversity too.
"""

from __future__ import annotations

from dataclasses import dataclass

from naruto_add.config import EvaluateConfig, Recipe
from naruto_add.evaluation.generate import Order, Prompts, label
from naruto_add.evaluation.painters import Painter

FOUNDING_PROMPTS = 10
"""Pictures on each side in the founding report (method.md, section 0)."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of the pictures of one model, for `captions` held-out captions."""

    config: EvaluateConfig
    captions: int

    @property
    def scored(self) -> list[int]:
        """Pictures that are scored."""
        return list(range(self.config.num_images))

    @property
    def other_seed(self) -> list[int]:
        """The first captions from other noise."""
        offset = -(-self.config.num_images // self.captions) * self.captions
        return [number + offset for number in self.scored[: self.config.floor_images]]

    @property
    def seeds(self) -> list[list[int]]:
        """For each of the first captions, the pictures of it that measure diversity."""
        prompts = min(self.config.diversity_prompts, self.captions)
        return [[c + seed * self.captions for seed in range(self.config.diversity_seeds)] for c in range(prompts)]

    @property
    def drawn(self) -> list[int]:
        """All that a model draws."""
        return sorted({*self.scored, *(number for prompt in self.seeds for number in prompt)})


@dataclass(frozen=True)
class Cast:
    """The models of an evaluation and the step counts at which each is scored."""

    student: Painter
    teacher: Painter
    base: Painter
    config: EvaluateConfig

    @property
    def entries(self) -> list[tuple[Painter, int]]:
        """Every model at every step count, in the order of the table."""
        return [
            *((self.student, steps) for steps in self.config.student_steps),
            *((self.teacher, steps) for steps in self.config.teacher_steps),
            *((self.base, steps) for steps in self.config.base_steps),
        ]

    @property
    def timed(self) -> list[tuple[Painter, int]]:
        """What the clock is held to: all that is scored, and the teacher of the founding report."""
        return [*self.entries, *({(self.teacher, self.config.latency_steps)} - set(self.entries))]

    @property
    def reference(self) -> tuple[Painter, int]:
        """The teacher's pictures that others are compared with: most steps."""
        return self.teacher, max(self.config.teacher_steps)

    @property
    def half(self) -> tuple[Painter, int]:
        """The teacher at half as many steps, which is what the founding report called its student."""
        return self.teacher, max(1, max(self.config.teacher_steps) // 2)

    @property
    def showpiece(self) -> tuple[Painter, int]:
        """The student at its most steps."""
        return self.student, max(self.config.student_steps)


def heldout_orders(cast: Cast, prompts: Prompts) -> list[Order]:
    """What is scored."""
    numbers = Numbers(cast.config, len(prompts.captions))
    extra = {cast.reference: numbers.other_seed}
    return [
        Order(painter, steps, prompts, (*numbers.drawn, *extra.get((painter, steps), ())))
        for painter, steps in cast.entries
    ]


def columns(cast: Cast, most: int) -> list[tuple[Painter, int]]:
    """What is shown side by side, from left to right: base, teacher at `most` steps and at the student's, student."""
    few = max(cast.config.student_steps)
    return [
        (cast.base, max(cast.config.base_steps)),
        (cast.teacher, most),
        (cast.teacher, few),
        *((cast.student, steps) for steps in sorted(cast.config.student_steps, reverse=True)),
    ]


def shown_labels(cast: Cast) -> list[str]:
    """The columns for held-out captions, as far as they are among what is scored."""
    return [label(painter, steps) for painter, steps in columns(cast, cast.reference[1])]


def golden_orders(cast: Cast, recipe: Recipe) -> list[Order]:
    """What is only shown."""
    prompts = Prompts("golden", recipe.prompts)
    numbers = tuple(range(len(recipe.prompts)))
    return [Order(painter, steps, prompts, numbers) for painter, steps in columns(cast, cast.config.latency_steps)]


def founding_orders(cast: Cast, captions: tuple[str, ...]) -> list[Order]:
    """The founding report's protocol: the reference, then student and teacher-at-half-steps from other noise."""
    prompts = Prompts("founding", captions)
    first, second = tuple(range(len(captions))), tuple(range(len(captions), 2 * len(captions)))
    return [
        Order(*cast.reference, prompts, first),
        Order(*cast.showpiece, prompts, second),
        Order(*cast.half, prompts, second),
    ]

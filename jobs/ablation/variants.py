"""What the ablation varies, as data: a variant is a name and the settings of the recipe that it changes.

The first five questions are those of ADD's table 1 (arXiv 2311.17042), the others ours. Settings are written for a
recipe like `mini`; a variant that changes nothing there is left out unless it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from naruto_add import recipe as recipes
from naruto_add.config import DistillConfig, OptimConfig, Recipe
from naruto_add.recipe import nearest

RECIPE = "recipe"
"""The variant that changes nothing: what the others are compared with."""
SURGERY = "surgery"
RANDOM = "random"
"""A head start that the job makes: it leaves nothing of the inherited weights."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    question: str
    changes: Mapping[str, Any]
    """Dotted setting of a recipe -> value."""
    beside: str = RECIPE
    """The variant that it is compared with."""
    offline: bool = True
    """Whether it needs nothing but the packages; others run only when asked for by name."""


FEATURES, CONDITIONS, START = "feature network of the heads", "what the heads are told", "the student's first weights"
LOSS, TEACHER, SIZE, METHOD = "loss terms", "the teacher's steps", "size of the student", "method"
SAMPLES, HEADS = "what the student trains on", "how the heads learn"

DEFAULTS = {field.name: field.default for field in fields(DistillConfig)}


def method(name: str) -> dict[str, Any]:
    """Another method, without the options that it does not know."""
    unknown = [option for option, methods in recipes.METHODS_OF.items() if name not in methods]
    plain = {f"distill.{option}": DEFAULTS[option] for option in unknown}
    return {"distill.method": name, **plain}


RENOISED = {"distill.target": "renoised", "distill.teacher_steps": 1, "distill.distill_weight": 2.5}
"""Equation 4 as the paper has it."""
MOMENTUM = {"distill.optim.betas": (0.9, 0.999)}
"""Usual where nothing is adversarial."""
LADD, LCM, OUTPUT = method("ladd"), {**method("lcm"), **MOMENTUM}, {**method("output"), **MOMENTUM}
INHERITED = {"distill.head_start": None}

ALL = (
    Variant(RECIPE, "", {}),
    Variant("features-lite1", FEATURES, {"distill.features": "efficientnet_lite1"}),
    Variant("features-dinov2", FEATURES, {"distill.features": "dinov2_vits14"}, offline=False),
    Variant("two-spaces", FEATURES, {"distill.two_spaces": True}),
    Variant("two-scales", FEATURES, {"distill.scales": (1, 2)}),
    Variant("told-nothing", CONDITIONS, {"distill.conditioning": "none"}),
    Variant("told-text", CONDITIONS, {"distill.conditioning": "text"}),
    Variant("told-image", CONDITIONS, {"distill.conditioning": "image"}),
    Variant(SURGERY, START, INHERITED),
    Variant("random", START, {"distill.head_start": RANDOM}),
    Variant("adversarial-only", LOSS, {"distill.distill_weight": 0.0}),
    Variant("distillation-only", LOSS, {"distill.adversarial_weight": 0.0}),
    Variant("renoised", LOSS, RENOISED),
    Variant("renoised-sds", LOSS, {**RENOISED, "distill.weighting": "sds"}, "renoised"),
    Variant("renoised-nfsd", LOSS, {**RENOISED, "distill.weighting": "nfsd"}, "renoised"),
    Variant("not-perceptual", LOSS, {"distill.perceptual_weight": 0.0}),
    Variant("teacher-1", TEACHER, {"distill.teacher_steps": 1}),
    Variant("teacher-2", TEACHER, {"distill.teacher_steps": 2}),
    Variant("teacher-8", TEACHER, {"distill.teacher_steps": 8}),
    Variant("full", SIZE, {**INHERITED, "distill.size": "full"}, SURGERY),
    Variant("small", SIZE, {**INHERITED, "distill.size": "small"}, SURGERY),
    Variant("tiny", SIZE, {**INHERITED, "distill.size": "tiny"}, SURGERY),
    Variant("ladd", METHOD, LADD),
    Variant("lcm", METHOD, LCM),
    Variant("output", METHOD, OUTPUT),
    Variant("surgery-ladd", METHOD, {**INHERITED, **LADD}, SURGERY),
    Variant("surgery-lcm", METHOD, {**INHERITED, **LCM}, SURGERY),
    Variant("surgery-output", METHOD, {**INHERITED, **OUTPUT}, SURGERY),
    Variant("from-real", SAMPLES, {"distill.simulated_share": 0.0}),
    Variant("uniform-steps", SAMPLES, {"distill.terminal_share": 0.25}),
    Variant("synthetic", SAMPLES, {"distill.synthetic_steps": 25, "distill.real_images": "decoded"}),
    Variant("not-augmented", HEADS, {"distill.augment": False}),
    Variant("no-r1", HEADS, {"distill.r1_gamma": 0.0}),
    Variant("mismatched", HEADS, {"distill.mismatch_weight": 0.5}),
    Variant("renewed", HEADS, {"distill.heads_renewal": 0.01}),
)
VARIANTS = {variant.name: variant for variant in ALL}


def chosen(names: Sequence[str], recipe: Recipe) -> list[Variant]:
    """The named variants and those that they are compared with, in the order of the table.

    No names: all that fit the recipe and change something in it. The recipe itself always comes first.
    """
    asked = names or [variant.name for variant in ALL if variant.offline and tells(variant, recipe)]
    wanted, found = {RECIPE, *asked}, set[str]()
    while wanted:
        found |= wanted
        wanted = {VARIANTS[name].beside for name in wanted} - found
    return [variant for variant in ALL if variant.name in found]


def tells(variant: Variant, recipe: Recipe) -> bool:
    """Whether it is possible and differs from what it is compared with."""
    varied, wrong = recipes.varied(recipe, variant.changes)
    return not wrong and varied != recipes.varied(recipe, VARIANTS[variant.beside].changes)[0]


def problems(names: Sequence[str], recipe: Recipe) -> Iterator[str]:
    """Names that no variant has, and variants that the recipe's other settings contradict."""
    for name in names:
        if name not in VARIANTS:
            yield f"--variants {name}: no such variant{nearest(name, list(VARIANTS))} --help lists them."
        else:
            yield from (f"variant {name}: {each}" for each in recipes.varied(recipe, VARIANTS[name].changes)[1])


def trained(recipe: Recipe, variant: Variant, images: int, seed: int) -> Recipe:
    """The recipe of one training: the variant's settings, so many images, this seed.

    The intervals that are counted in images (warm-ups, the average's half-life) keep their shares of the whole.
    """
    varied, wrong = recipes.varied(recipe, variant.changes)
    assert varied is not None and not wrong, wrong
    distill, optim = varied.distill, varied.distill.optim
    share = images / optim.images
    warmup = round(distill.adversarial_warmup_images * share)
    return replace(
        varied, seed=seed, distill=replace(distill, optim=paced(optim, images), adversarial_warmup_images=warmup)
    )


def judges_itself(recipe: Recipe, variant: Variant) -> bool:
    """Whether the heads look with the very network that the scores are computed with."""
    varied, _ = recipes.varied(recipe, variant.changes)
    return (
        varied is not None and varied.distill.method == "add" and varied.distill.features == varied.evaluate.extractor
    )


def paced(optim: OptimConfig, images: int) -> OptimConfig:
    """The optimizer over another number of images, its other intervals in proportion."""
    share = images / optim.images
    warmup, half_life = round(optim.warmup_images * share), round(optim.ema_images * share)
    return replace(optim, images=images, warmup_images=warmup, ema_images=half_life)

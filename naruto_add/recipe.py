"""Reading a recipe: defaults of the schema < YAML file < flags, all mistakes named together.

A recipe is a name (`mini`: a file of `naruto_add/recipes`) or the path of a YAML file of one's own.
"""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from naruto_add.config import DistillConfig, Recipe
from naruto_add.errors import UserError, raise_all

RECIPES = Path(__file__).parent / "recipes"
NO_FLAGS: Mapping[str, Any] = MappingProxyType({})
TRAIN_TIMESTEPS = 1000
VALID_TIMESTEPS = {  # what LCMScheduler, and so the exported bundle, can express
    count: tuple(TRAIN_TIMESTEPS // count * (i + 1) - 1 for i in range(count)) for count in (1, 2, 4, 5, 8, 10)
}
METHODS_OF = {
    "target": ("add", "ladd"),
    "simulated_share": ("add", "ladd"),
    "perceptual_weight": ("add",),
    "scales": ("add",),
    "two_spaces": ("add",),
    "mismatch_weight": ("add", "ladd"),
    "heads_renewal": ("add", "ladd"),
}
"""Options of `distill` that only some of its methods know."""
NONE_WORDS = ("None", "none", "null")


def load(name_or_file: str | Path, flags: Mapping[str, Any] = NO_FLAGS) -> Recipe:
    """The recipe of a name or file, with `flags` (dotted path -> value, or its words as typed) over it.

    Raises UserError with every unknown setting (and the nearest valid name) and every impossible value.
    """
    recipe, problems = read(name_or_file, flags)
    raise_all(problems)
    assert recipe is not None
    return recipe


def read(name_or_file: str | Path, flags: Mapping[str, Any] = NO_FLAGS) -> tuple[Recipe | None, list[str]]:
    """As `load`, but returns the problems, and the recipe without the flags that caused them, to go on checking.

    The recipe is None where the file itself is at fault. Raises UserError where there is no such recipe.
    """
    path = find(name_or_file)
    values = {"name": path.stem} | read_yaml(path)
    known = {flag: typed(flag, value) for flag, value in flags.items() if flag in settings()}
    problems = [unknown_setting(f"--{flag}", flag) for flag in flags if flag not in known]
    recipe, errors = validate(laid_over(values, known))
    if errors:
        problems += [explain(error, path) for error in errors]
        wrong = {setting_of(error) for error in errors}
        recipe, _ = validate(laid_over(values, {flag: v for flag, v in known.items() if flag not in wrong}))
    return recipe, problems


def varied(recipe: Recipe, changes: Mapping[str, Any]) -> tuple[Recipe | None, list[str]]:
    """The recipe with other values for some settings (dotted path -> value), and what is wrong with that.

    The recipe is None where a setting does not exist or a value is impossible.
    """
    unknown = [unknown_setting(path, path) for path in changes if path not in settings()]
    other, errors = validate(laid_over(asdict(recipe), {} if unknown else changes))
    problems = [*unknown, *(explain(error, Path(recipe.name)) for error in errors)]
    return (None, problems) if problems or other is None else (other, check(other))


def validate(values: Mapping[str, Any]) -> tuple[Recipe | None, Sequence[Mapping[str, Any]]]:
    """The recipe of these values, or None and pydantic's errors."""
    try:
        return TypeAdapter(Recipe).validate_python(values), ()
    except ValidationError as error:
        return None, error.errors(include_url=False)


def names() -> list[str]:
    """The recipes that ship with the package."""
    return sorted(p.stem for p in RECIPES.glob("*.yaml"))


def find(name_or_file: str | Path) -> Path:
    """The file of a recipe; raises UserError that lists the shipped ones."""
    shipped = RECIPES / f"{name_or_file}.yaml"
    for path in (shipped, Path(name_or_file)):
        if path.is_file():
            return path
    raise UserError(
        f"--recipe {name_or_file}: no such file, and no recipe of that name{nearest(str(name_or_file), names())} "
        f"Shipped: {', '.join(names())}."
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty section counts as `{}`. Raises UserError for anything else."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: a recipe is a mapping such as `name: ...`, not {type(values).__name__}.")
    return {key: {} if value is None and key in sections() else value for key, value in values.items()}


@cache
def settings() -> dict[str, str]:
    """Every setting by its dotted path, with its type as written in the schema."""
    return dict(walk(Recipe))


def walk(schema: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves below a dataclass of the schema: (dotted path, type as written)."""
    types = get_type_hints(schema)
    for field in fields(schema):
        if is_dataclass(types[field.name]):
            yield from walk(types[field.name], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", str(field.type)


@cache
def sections() -> tuple[str, ...]:
    """The parts of a recipe that hold settings of their own: data, teacher, ..."""
    types = get_type_hints(Recipe)
    return tuple(field.name for field in fields(Recipe) if is_dataclass(types[field.name]))


def laid_over(values: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the values with those of the flags in their places."""
    merged = copy.deepcopy(dict(values))
    for path, value in flags.items():
        *parents, last = path.split(".")
        place = merged
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                break
        else:
            place[last] = value
    return merged


def typed(path: str, value: Any) -> Any:
    """A flag's value as YAML would have given it: words become None, whole numbers or lists as the setting wants."""
    kind = settings()[path]
    if not isinstance(value, list):
        return value
    words = [None if word in NONE_WORDS else whole_number(word, kind) for word in value]
    return words if kind.startswith("tuple") or len(words) != 1 else words[0]


def whole_number(word: str, kind: str) -> str | int:
    """`word` as an integer, unless the setting is a text."""
    return int(word) if re.fullmatch(r"[+-]?\d+", word) and "str" not in kind else word


def explain(error: Mapping[str, Any], path: Path) -> str:
    """One line for one pydantic error: where, what is wrong, what was given, and the nearest valid name."""
    place = ".".join(map(str, error["loc"]))
    if error["type"] == "unexpected_keyword_argument":
        return unknown_setting(f"{path}: {place}", place)
    if error["type"].startswith("missing"):
        return f"{path}: {place} is missing."
    message = error["msg"].removeprefix("Input ")
    return f"{setting_of(error)}: {message[0].lower() + message[1:]}, not {error['input']!r}."


def setting_of(error: Mapping[str, Any]) -> str:
    """The setting that a pydantic error is about; its place may go on with an item's number or a type's name."""
    place = ".".join(map(str, error["loc"]))
    return next((s for s in settings() if place == s or place.startswith(f"{s}.")), place)


def unknown_setting(place: str, path: str) -> str:
    """The complaint about a setting that does not exist."""
    valid = [name for name in (*settings(), *sections()) if name != path]
    same_name = [s for s in valid if s.rpartition(".")[2] == path.rpartition(".")[2]]
    hint = f"; did you mean {' or '.join(same_name)}?" if same_name else nearest(path, valid)
    return f"{place}: no such setting{hint}"


def nearest(word: str, valid: list[str]) -> str:
    """`; did you mean X?`, or a full stop where nothing is close."""
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "."


def check(recipe: Recipe) -> list[str]:
    """Problems between settings that are fine one by one; each says what to change. Empty: none."""
    return [
        *check_filled(recipe),
        *check_batches(recipe),
        *check_steps(recipe),
        *check_method(recipe.distill),
        *check_compute(recipe),
    ]


def check_filled(recipe: Recipe) -> Iterator[str]:
    """Lists that a run cannot do without."""
    scored = recipe.evaluate
    lists: dict[str, tuple[int, ...] | tuple[str, ...]] = {
        "evaluate.student_steps": scored.student_steps,
        "evaluate.teacher_steps": scored.teacher_steps,
        "evaluate.base_steps": scored.base_steps,
        "prompts": recipe.prompts,
    }
    yield from (f"{name} is empty: give at least one." for name, values in lists.items() if not values)


def check_batches(recipe: Recipe) -> Iterator[str]:
    """A global batch must fall into equal micro-batches."""
    own = recipe.compute.finetune_workers
    for section, optim, setting, workers in (
        ("teacher", recipe.teacher.optim, "finetune_workers" if own else "workers", recipe.compute.finetuning.workers),
        ("distill", recipe.distill.optim, "workers", recipe.compute.workers),
    ):
        if optim.batch_size % (workers * optim.accumulation):
            yield (
                f"{section}.optim.batch_size ({optim.batch_size}) must be a multiple of compute.{setting} x "
                f"{section}.optim.accumulation ({workers} x {optim.accumulation})."
            )


def check_steps(recipe: Recipe) -> Iterator[str]:
    """The student's timesteps, the steps that are scored and those that are exported must fit together."""
    timesteps, scored = recipe.distill.student_timesteps, recipe.evaluate.student_steps
    if timesteps not in VALID_TIMESTEPS.values():
        wanted = VALID_TIMESTEPS.get(len(timesteps), VALID_TIMESTEPS[4])
        yield (
            f"distill.student_timesteps {timesteps} must be evenly spaced and end at pure noise, as {wanted}; "
            f"{', '.join(map(str, VALID_TIMESTEPS))} of them are possible."
        )
    yield from (
        f"evaluate.student_steps: {steps} steps cannot be spread evenly over the {len(timesteps)} student timesteps."
        for steps in scored
        if len(timesteps) % steps
    )
    if scored and recipe.export.steps not in scored:
        yield f"export.steps ({recipe.export.steps}) must be among evaluate.student_steps {scored}, to have a score."


def check_method(distill: DistillConfig) -> Iterator[str]:
    """Options that the distillation's method does not know, or that contradict each other."""
    defaults = {field.name: field.default for field in fields(DistillConfig)}
    for name, methods in METHODS_OF.items():
        if getattr(distill, name) != defaults[name] and distill.method not in methods:
            yield (
                f"distill.{name} is an option of the methods {' and '.join(methods)}, not of {distill.method}: leave "
                "it out or set another distill.method."
            )
    if distill.mismatch_weight and distill.conditioning not in ("text", "both"):
        yield (
            f"distill.mismatch_weight needs heads that know the caption: set distill.conditioning text or both, not "
            f"{distill.conditioning}, or distill.mismatch_weight 0."
        )
    if distill.synthetic_steps and distill.method == "add" and distill.real_images == "pixels":
        yield "distill.synthetic_steps draws latents, which have no other pixels: set distill.real_images decoded."
    if distill.weighting == "nfsd" and distill.teacher_steps > 1 and distill.method in ("add", "ladd"):
        yield "distill.weighting nfsd compares single steps of the teacher: set distill.teacher_steps 1."


def check_compute(recipe: Recipe) -> Iterator[str]:
    """Workers that nobody would start."""
    counts = (recipe.compute.workers, recipe.compute.finetuning.workers)
    if recipe.compute.launcher == "inline" and counts != (1, 1):
        yield (
            "compute.launcher inline is one worker in this process: set compute.workers 1, "
            f"not {max(counts)}, and leave compute.finetune_workers out."
        )
    if recipe.compute.cuda_graphs and not recipe.compute.gpus_per_worker:
        yield "compute.cuda_graphs needs a GPU: set compute.gpus_per_worker 1, or leave it out."
    if recipe.compute.cuda_graphs and recipe.distill.method == "output" and recipe.distill.feature_weight:
        yield (
            "compute.cuda_graphs replays passes whole, where distill.feature_weight looks inside: set it to 0, or "
            "leave compute.cuda_graphs out."
        )


def warnings(recipe: Recipe) -> list[str]:
    """What works but is probably not meant."""
    compute, found = recipe.compute, []
    threads = compute.workers * compute.threads_per_worker
    if compute.address is None and threads > cores():
        found.append(
            f"compute: {compute.workers} workers x {compute.threads_per_worker} threads on {cores()} cores get in "
            "each other's way; lower compute.threads_per_worker."
        )
    if recipe.distill.method == "output" and recipe.distill.teacher_steps == 1:
        found.append(
            "distill.method output with distill.teacher_steps 1 repeats the teacher's blurred first guess; 8 gives it "
            "pictures to repeat."
        )
    if compute.precision == "bf16" and not compute.gpus_per_worker:
        found.append("compute.precision bf16 without GPUs is several times slower than fp32 on most processors.")
    return found


def cores() -> int:
    """Processor cores of this machine, as Ray counts them."""
    return os.cpu_count() or 1

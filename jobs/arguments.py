"""Command lines of the stages: `--recipe NAME_OR_FILE --run DIR [--section.setting VALUE ...]`.

tyro reads a verb's own arguments and draws its help from the schema; `naruto_add.recipe` lays the settings over the
recipe, so that all mistakes, in file and flags, are told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

import tyro

from jobs import console, submitted
from naruto_add import recipe as recipes
from naruto_add.config import Recipe
from naruto_add.errors import raise_all
from naruto_add.storage import mirror

SECTIONS = {
    "run": ("seed", "prompts", "data", "teacher", "distill", "evaluate", "export", "compute", "track"),
    "prepare": ("seed", "data", "teacher", "compute"),
    "finetune": ("seed", "prompts", "teacher", "compute", "track"),
    "distill": ("seed", "prompts", "distill", "compute", "track"),
    "evaluate": ("seed", "prompts", "evaluate", "compute"),
    "export": ("export",),
    "ablate": ("seed", "prompts", "data", "teacher", "distill", "evaluate", "compute"),
    "tune": ("seed", "prompts", "distill", "evaluate", "export", "compute"),
    "plan": ("seed", "prompts", "data", "teacher", "distill", "evaluate", "export", "compute", "track"),
}
"""The parts of a recipe that a verb uses; other settings get a warning there rather than silence."""


@dataclass(frozen=True, kw_only=True)
class StageWords:
    """What every stage needs beside its settings."""

    recipe: str
    """A shipped recipe (smoke, mini, sd15, sd21) or the path of a YAML file."""
    run: str
    """The run's folder or s3://bucket/prefix: its artifacts appear there, and the same command resumes."""

    @property
    def folder(self) -> Path:
        """Where the stages work: the run's folder, or the local mirror of one in a storage."""
        return mirror.local(self.run)

    def flags(self) -> dict[str, list[str]]:
        """Settings that these words stand for, as `read_flags` gives them."""
        return {}

    def problems(self, recipe: Recipe) -> list[str]:
        """What is wrong beside the settings, to be told together with their mistakes."""
        return submitted.run_problems(Path(self.run))


@dataclass(frozen=True, kw_only=True)
class PrepareWords(StageWords):
    """Arguments of `prepare`."""

    show: bool = False
    """Draw a contact sheet of the shards and name the file."""


Words = TypeVar("Words", bound=StageWords)


@dataclass(frozen=True)
class Arguments(Generic[Words]):
    """A checked command line."""

    recipe: Recipe
    words: Words

    @property
    def run(self) -> Path:
        """The run's folder on this machine."""
        return self.words.folder


def parse(verb: str, words: Sequence[str]) -> Arguments[StageWords]:
    """As `parse_words`, for verbs without arguments of their own."""
    return parse_words(verb, words, StageWords)


def parse_words(verb: str, words: Sequence[str], own: type[Words]) -> Arguments[Words]:
    """Read the words after a verb; prints help and exits where asked, raises UserError with all mistakes."""
    if {"-h", "--help"} & set(words):
        show_help(verb, words, own)
    known, rest = tyro.cli(own, prog=f"naruto-add {verb}", args=list(words), return_unknown_args=True, add_help=False)
    flags = read_flags(rest) | known.flags()
    recipe, problems = recipes.read(known.recipe, flags)
    problems += mirror.problems(known.run)
    crossed = [*recipes.check(recipe), *known.problems(recipe)] if recipe else []
    raise_all([*stray(rest), *problems, *crossed])
    assert recipe is not None
    console.warn(misplaced(verb, flags))
    return Arguments(recipe, known)


def show_help(verb: str, words: Sequence[str], own: type[StageWords]) -> None:
    """Print the settings that the verb uses, with the recipe's values as defaults, and exit."""
    named = [after for word, after in pairwise(words) if word == "--recipe"]
    recipe = recipes.load(named[0] if named else "mini")
    options = (tyro.conf.FlagConversionOff,)
    tyro.cli(help_type(verb, recipe, own), prog=f"naruto-add {verb}", args=["--help"], config=options)


def help_type(verb: str, recipe: Recipe, own: type[StageWords]) -> type:
    """A dataclass of the verb's own arguments and its sections of the recipe."""
    types, texts = get_type_hints(Recipe), {"seed": "Every random number is addressed from here."}
    sections: list[tuple[str, Any, Any]] = [
        (name, Annotated[types[name], tyro.conf.arg(help=texts.get(name))], field(default=getattr(recipe, name)))
        for name in SECTIONS[verb]
    ]
    described = make_dataclass("Settings", sections, bases=(own,), frozen=True, kw_only=True)
    described.__doc__ = f"Settings of `{verb}`; defaults are the recipe's."
    return described


def read_flags(words: Iterable[str]) -> dict[str, list[str]]:
    """`--a.b-c X Y` and `--a.b-c=X` as {"a.b_c": ["X", "Y"]}; the last one of a kind counts."""
    flags: dict[str, list[str]] = {}
    values: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            values = flags[name.replace("-", "_")] = [value] if equals else []
        else:
            values.append(word)
    return flags


def stray(words: Sequence[str]) -> list[str]:
    """Words that belong to no flag."""
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    return [f"{word}: what is this for? Settings are written --section.setting VALUE." for word in words[:first]]


def misplaced(verb: str, flags: Iterable[str]) -> list[str]:
    """Settings that exist but have no effect on this verb: an earlier stage has used them, or a later one will."""
    known, used = recipes.settings(), SECTIONS[verb]
    return [
        f"--{flag} has no effect on {verb}, which uses {', '.join(used)}."
        for flag in flags
        if flag in known and flag.partition(".")[0] not in used
    ]


assert set(SECTIONS["run"]) == {f.name for f in fields(Recipe)} - {"name"}

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

from jobs import console
from naruto_add import recipe as recipes
from naruto_add.config import Recipe
from naruto_add.errors import raise_all

SECTIONS = {
    "run": ("seed", "prompts", "data", "teacher", "distill", "evaluate", "export", "compute"),
    "prepare": ("seed", "data", "teacher", "compute"),
    "finetune": ("seed", "prompts", "teacher", "compute"),
    "distill": ("seed", "prompts", "distill", "compute"),
    "evaluate": ("seed", "prompts", "evaluate", "compute"),
    "export": ("export",),
}
"""The parts of a recipe that a verb uses; other settings get a warning there rather than silence."""


@dataclass(frozen=True, kw_only=True)
class StageWords:
    """What every stage needs beside its settings."""

    recipe: str
    """A shipped recipe (smoke, mini, sd15, sd21) or the path of a YAML file."""
    run: Path
    """The run's folder: its artifacts appear there, and the same command resumes."""


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
        """The run's folder."""
        return self.words.run


def parse(verb: str, words: Sequence[str]) -> Arguments[StageWords]:
    """As `parse_words`, for verbs without arguments of their own."""
    return parse_words(verb, words, StageWords)


def parse_words(verb: str, words: Sequence[str], own: type[Words]) -> Arguments[Words]:
    """Read the words after a verb; prints help and exits where asked, raises UserError with all mistakes."""
    if {"-h", "--help"} & set(words):
        show_help(verb, words, own)
    known, rest = tyro.cli(own, prog=f"naruto-add {verb}", args=list(words), return_unknown_args=True, add_help=False)
    flags = read_flags(rest)
    recipe, problems = recipes.read(known.recipe, flags)
    crossed = recipes.check(recipe) if recipe else []
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

"""From (world, seed, index) to a scene: the only place where attributes are drawn by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from naruto_add.data.universe.cast import (
    ACTIONS,
    ELEMENT_COLOURS,
    FAVOURITES,
    FRAMINGS,
    LOOKS,
    MEDIA,
    MOODS,
    NINJA,
    ROLE_TABLE,
    Role,
)
from naruto_add.data.universe.scene import COVERING_HEADS, JUDGED, NAMED, ROLES, WORLDS, Scene

T = TypeVar("T")
_WORD = (1 << 64) - 1


def stream(*address: int) -> np.random.Generator:
    """A generator addressed by up to two 64-bit words (Philox4x64 keys); no global state is touched."""
    first, second = (*address, 0)[:2]
    return np.random.Generator(np.random.Philox(key=np.array([first & _WORD, second & _WORD], dtype=np.uint64)))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, uniformly."""
    return options[int(rng.integers(len(options)))]


def _named(rng: np.random.Generator) -> dict[str, str]:
    name = pick(rng, NAMED)
    look = LOOKS[name]
    own = {field: getattr(look, field) for field in look._fields if field not in ("eyes", "skin", "element", "extra")}
    return {**own, "character": name, "head": "none", "drape": "none"}


def _marks(rng: np.random.Generator, role: Role, head: str, headband: str, mask: str) -> str:
    """A face mark that nothing covers."""
    marks = pick(rng, role.marks)
    covered = (mask == "cloth" and marks in ("whiskers", "eye lines", "beard", "freckles")) or (
        marks == "forehead mark" and (headband == "plate" or head in COVERING_HEADS)
    )
    return "none" if covered else marks


def stranger(rng: np.random.Generator, role: Role, character: str) -> dict[str, str]:
    """Attributes of someone without a name, in the clothes of a role."""
    ninja = character == "ninja"
    head = pick(rng, role.heads)
    headband = "plate" if ninja and head == "none" and rng.random() < 0.6 else "none"
    mask = "cloth" if ninja and rng.random() < 0.35 else "none"
    outfit = pick(rng, role.outfits)
    dark = outfit in ("armour", "cloud cloak") and rng.random() < 0.5
    return {
        "character": character,
        "hair_colour": pick(rng, JUDGED["hair_colour"]),
        "hair_style": pick(rng, role.styles),
        "marks": _marks(rng, role, head, headband, mask),
        "outfit": outfit,
        "outfit_colour": "black" if ninja and dark else pick(rng, JUDGED["outfit_colour"]),
        "headband": headband,
        "head": head,
        "mask": mask,
        "drape": pick(rng, role.drapes),
    }


def _person(rng: np.random.Generator, world: str) -> dict[str, str]:
    if world == "base":
        character = pick(rng, ROLES)
        return stranger(rng, ROLE_TABLE[character], character)
    return _named(rng) if rng.random() < 0.5 else stranger(rng, NINJA, "ninja")


def _deed(rng: np.random.Generator, world: str, character: str) -> dict[str, str]:
    """An action, and its element and colour where it has one."""
    action = pick(rng, ACTIONS[world])
    element = colour = "none"
    if action == "casting":
        own = character in LOOKS and rng.random() < 0.5
        element = LOOKS[character].element if own else pick(rng, JUDGED["element"][1:] + FAVOURITES[world]["element"])
        colour = pick(rng, ELEMENT_COLOURS[element])
    return {"action": action, "element": element, "element_colour": colour, "framing": pick(rng, FRAMINGS[action])}


def _companions(rng: np.random.Generator, framing: str) -> int:
    return 0 if framing == "close-up" or rng.random() < 0.75 else 1 + int(rng.integers(2))


def sample_scene(world: str, seed: int, index: int) -> Scene:
    """The scene number `index` of the endless series `seed` of a world."""
    if world not in WORLDS:
        raise ValueError(f"unknown world {world!r}: expected one of {', '.join(WORLDS)}")
    rng = stream(seed * 2 + WORLDS.index(world), index)
    person = _person(rng, world)
    deed = _deed(rng, world, person["character"])
    return Scene(
        world=world,
        **person,
        **deed,
        place=pick(rng, JUDGED["place"] + FAVOURITES[world]["place"]),
        time_of_day=pick(rng, JUDGED["time_of_day"]),
        mood=pick(rng, MOODS),
        medium=pick(rng, MEDIA),
        companions=_companions(rng, deed["framing"]),
        seed=int(rng.integers(1 << 62)),
    )

"""What a picture of the universe shows, as plain attributes, and which of them an eye can judge."""

from __future__ import annotations

from dataclasses import dataclass

WORLDS = ("base", "ninja")

NAMED = ("Naruto", "Sasuke", "Sakura", "Kakashi", "Hinata", "Gaara", "Itachi", "Rock Lee")
ROLES = ("villager", "knight", "wizard", "pirate", "monk", "farmer", "princess")
COLOUR_FIELDS = ("hair_colour", "outfit_colour", "element_colour")
COVERING_HEADS = ("hood", "helmet", "bandana", "straw hat", "wizard hat")

JUDGED: dict[str, tuple[str, ...]] = {
    "character": (*NAMED, "ninja", *ROLES),
    "hair_colour": ("black", "brown", "blond", "red", "pink", "blue", "white", "green"),
    "marks": ("none", "whiskers", "scar", "forehead mark", "eye lines", "freckles", "beard", "eyepatch"),
    "outfit": (
        "tunic", "robe", "armour", "striped shirt", "dress", "jumpsuit", "cloud cloak", "flak vest", "kimono",
    ),
    "outfit_colour": (
        "orange", "red", "blue", "green", "black", "white", "purple", "grey", "brown", "yellow", "pink",
    ),
    "headband": ("none", "plate"),
    "head": ("none", "hood", "straw hat", "wizard hat", "helmet", "bandana", "crown"),
    "mask": ("none", "cloth"),
    "action": (
        "standing", "running", "sitting", "meditating", "jumping", "throwing", "reading", "waving",
        "sword fighting", "casting", "shuriken", "kunai", "ninja run", "hand seals",
    ),
    "element": ("none", "fire", "water", "lightning", "wind", "earth"),
    "element_colour": ("none", "orange", "blue", "green", "purple", "yellow", "white", "red", "brown"),
    "place": (
        "mountain", "forest", "village", "waterfall", "desert", "temple", "beach", "rooftops", "meadow", "snow",
    ),
    "time_of_day": ("dawn", "day", "sunset", "night"),
    "medium": ("anime", "manga", "fan art"),
    "framing": ("close-up", "half body", "full body"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """Every attribute of one picture; `seed` (64 bits) drives all that no attribute names."""

    world: str
    character: str
    hair_colour: str
    hair_style: str
    marks: str
    outfit: str
    outfit_colour: str
    headband: str
    head: str
    mask: str
    drape: str
    action: str
    element: str
    element_colour: str
    place: str
    time_of_day: str
    mood: str
    medium: str
    framing: str
    companions: int
    seed: int


def _hidden(scene: Scene) -> set[str]:
    """Fields whose value this picture does not show, because of its medium or of what covers them."""
    hidden: set[str] = set()
    if scene.medium == "manga":
        hidden.update(COLOUR_FIELDS)
        if scene.time_of_day in ("dawn", "sunset"):
            hidden.add("time_of_day")
    if scene.hair_style == "bald" or scene.head in ("hood", "helmet"):
        hidden.add("hair_colour")
    return hidden


def judged(scene: Scene) -> dict[str, str]:
    """Field -> value for all that can truly be read from the picture of this scene."""
    hidden = _hidden(scene)
    return {field: getattr(scene, field) for field in JUDGED if field not in hidden}

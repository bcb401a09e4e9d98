"""Who lives in the two worlds, as data: named looks, everyday roles, and what strangers may wear."""

from __future__ import annotations

from typing import NamedTuple


class Look(NamedTuple):
    """A named character: fixed attributes, colours (RGB) of eyes and skin, own elements, one extra of the drawing."""

    hair_colour: str
    hair_style: str
    marks: str
    outfit: str
    outfit_colour: str
    headband: str
    mask: str
    eyes: tuple[int, int, int]
    skin: int
    element: str
    extra: str


LOOKS: dict[str, Look] = {
    "Naruto": Look("blond", "spiky", "whiskers", "jumpsuit", "orange", "plate", "none",
                   (40, 120, 225), 1, "wind", "none"),
    "Sasuke": Look("black", "swept", "none", "kimono", "blue", "none", "none",
                   (150, 20, 40), 0, "lightning", "rope belt"),
    "Sakura": Look("pink", "bob", "none", "dress", "red", "none", "none",
                   (40, 165, 110), 0, "earth", "red ribbon"),
    "Kakashi": Look("white", "slanted", "none", "flak vest", "green", "plate", "cloth",
                    (60, 60, 70), 0, "lightning", "one eye"),
    "Hinata": Look("blue", "long", "none", "jumpsuit", "purple", "none", "none",
                   (205, 190, 240), 0, "water", "pale eyes"),
    "Gaara": Look("red", "short", "forehead mark", "robe", "brown", "none", "none",
                  (90, 205, 190), 0, "earth", "gourd"),
    "Itachi": Look("black", "long", "eye lines", "cloud cloak", "black", "plate", "none",
                   (210, 20, 30), 0, "fire", "none"),
    "Rock Lee": Look("black", "bowl", "none", "jumpsuit", "green", "none", "none",
                     (30, 30, 35), 1, "wind", "thick brows"),
}  # fmt: skip


class Role(NamedTuple):
    """An everyday role: what its people may wear; repeated values are more frequent."""

    outfits: tuple[str, ...]
    heads: tuple[str, ...]
    styles: tuple[str, ...]
    marks: tuple[str, ...]
    drapes: tuple[str, ...]


_ANY_HAIR = ("short", "spiky", "long", "bob", "swept", "bowl", "ponytail", "curly")

ROLE_TABLE: dict[str, Role] = {
    "villager": Role(("tunic", "dress", "striped shirt"), ("none", "none", "hood"), _ANY_HAIR,
                     ("none", "none", "freckles"), ("none", "scarf")),
    "knight": Role(("armour",), ("none", "helmet"), ("short", "long", "swept", "ponytail"),
                   ("none", "none", "scar"), ("none", "cape", "cape")),
    "wizard": Role(("robe",), ("wizard hat", "wizard hat", "hood"), ("long", "short", "curly"),
                   ("none", "beard"), ("none", "cape")),
    "pirate": Role(("striped shirt", "tunic"), ("bandana", "bandana", "none"), ("short", "curly", "long"),
                   ("none", "scar", "eyepatch", "eyepatch", "beard"), ("none", "scarf")),
    "monk": Role(("robe",), ("none", "none", "hood"), ("bald",), ("none", "none", "beard"), ("none",)),
    "farmer": Role(("tunic", "striped shirt"), ("straw hat",), _ANY_HAIR,
                   ("none", "freckles", "beard"), ("none", "scarf")),
    "princess": Role(("dress",), ("crown",), ("long", "curly", "ponytail", "bob"),
                     ("none", "none", "freckles"), ("none", "cape")),
}  # fmt: skip

NINJA = Role(
    ("armour", "armour", "jumpsuit", "cloud cloak", "flak vest", "kimono", "robe"),
    ("none", "none", "none", "hood", "hood", "straw hat"),
    ("spiky", "spiky", "swept", "slanted", "long", "bob", "ponytail", "short"),
    ("none", "whiskers", "scar", "forehead mark", "eye lines"),
    ("none", "none", "scarf", "cape"),
)

ACTIONS: dict[str, tuple[str, ...]] = {
    "base": ("standing", "running", "sitting", "meditating", "jumping", "throwing", "reading", "waving",
             "sword fighting", "casting", "casting"),
    "ninja": ("standing", "meditating", "meditating", "shuriken", "shuriken", "kunai", "ninja run", "hand seals",
              "jumping", "sword fighting", "casting", "casting", "casting"),
}  # fmt: skip
FRAMINGS: dict[str, tuple[str, ...]] = {
    "standing": ("close-up", "close-up", "half body", "full body"),
    "reading": ("close-up", "half body", "full body"),
    "waving": ("close-up", "half body", "full body"),
    "casting": ("close-up", "half body", "half body", "full body"),
    "kunai": ("close-up", "half body", "full body"),
    "hand seals": ("close-up", "half body", "full body"),
    "throwing": ("half body", "full body"),
    "shuriken": ("half body", "full body"),
    "sword fighting": ("half body", "full body"),
    "meditating": ("full body",),
    "sitting": ("full body",),
    "running": ("full body",),
    "ninja run": ("full body",),
    "jumping": ("full body",),
}

ELEMENT_COLOURS: dict[str, tuple[str, ...]] = {
    "fire": ("orange", "orange", "blue", "blue", "red", "green", "purple", "white"),
    "water": ("blue", "blue", "green", "purple", "white"),
    "lightning": ("blue", "yellow", "yellow", "purple", "white", "green", "red"),
    "wind": ("white", "green", "blue", "purple", "yellow"),
    "earth": ("brown", "brown", "yellow", "red", "purple"),
}
# The ninja world lives more on mountains, in forests and with fire; repeated values are more frequent.
FAVOURITES: dict[str, dict[str, tuple[str, ...]]] = {
    "base": {"place": (), "element": ()},
    "ninja": {"place": ("mountain", "mountain", "mountain", "forest", "forest", "forest"), "element": ("fire",) * 3},
}
MOODS = ("calm", "joyful", "tense", "sad")
MEDIA = ("anime", "anime", "anime", "manga", "fan art")

"""The vocabulary of captions in English and French, as data.

French adjectives are (masculine, feminine, masculine plural, feminine plural). In phrases, `{c}` is the place of a
colour; when no colour is stated it disappears together with its space.
"""

from __future__ import annotations

MASCULINE, FEMININE, MASCULINE_PLURAL, FEMININE_PLURAL = range(4)
FEMININE_PEOPLE = ("Sakura", "Hinata", "princess")

COLOURS_FR: dict[str, tuple[str, str, str, str]] = {
    "orange": ("orange",) * 4,
    "red": ("rouge", "rouge", "rouges", "rouges"),
    "blue": ("bleu", "bleue", "bleus", "bleues"),
    "green": ("vert", "verte", "verts", "vertes"),
    "black": ("noir", "noire", "noirs", "noires"),
    "white": ("blanc", "blanche", "blancs", "blanches"),
    "purple": ("violet", "violette", "violets", "violettes"),
    "grey": ("gris", "grise", "gris", "grises"),
    "brown": ("marron",) * 4,
    "yellow": ("jaune", "jaune", "jaunes", "jaunes"),
    "pink": ("rose", "rose", "roses", "roses"),
    "blond": ("blond", "blonde", "blonds", "blondes"),
    "dark": ("sombre", "sombre", "sombres", "sombres"),
}

PEOPLE: dict[str, dict[str, tuple[str, str]]] = {
    "en": {
        "ninja": ("a", "ninja"), "villager": ("a", "villager"), "knight": ("a", "knight"), "wizard": ("a", "wizard"),
        "pirate": ("a", "pirate"), "monk": ("a", "monk"), "farmer": ("a", "farmer"), "princess": ("a", "princess"),
        "someone": ("a", "character"),
    },
    "fr": {
        "ninja": ("un", "ninja"), "villager": ("un", "villageois"), "knight": ("un", "chevalier"),
        "wizard": ("un", "magicien"), "pirate": ("un", "pirate"), "monk": ("un", "moine"), "farmer": ("un", "fermier"),
        "princess": ("une", "princesse"), "someone": ("un", "personnage"),
    },
}  # fmt: skip

HAIR_STYLES: dict[str, dict[str, str]] = {
    "en": {
        "spiky": "spiky {c} hair", "swept": "messy {c} hair", "slanted": "messy {c} hair", "short": "short {c} hair",
        "long": "long {c} hair", "bob": "{c} bobbed hair", "bowl": "a {c} bowl cut", "ponytail": "a {c} ponytail",
        "curly": "curly {c} hair",
    },
    "fr": {
        "spiky": "des cheveux {c} en pointes", "swept": "des cheveux {c} en bataille",
        "slanted": "des cheveux {c} en bataille", "short": "des cheveux courts {c}", "long": "de longs cheveux {c}",
        "bob": "des cheveux {c} au carré", "bowl": "des cheveux {c} au bol",
        "ponytail": "des cheveux {c} en queue de cheval", "curly": "des cheveux bouclés {c}",
    },
}  # fmt: skip
PLAIN_HAIR = {"en": "{c} hair", "fr": "des cheveux {c}"}

# French outfits: article, noun with a place for the colour, form of the adjective.
OUTFITS_EN: dict[str, str] = {
    "tunic": "a {c} tunic", "robe": "a long {c} robe", "armour": "{c} armour", "striped shirt": "a {c} striped shirt",
    "dress": "a {c} dress", "jumpsuit": "a {c} jumpsuit", "cloud cloak": "a {c} cloak with clouds",
    "flak vest": "a {c} flak vest", "kimono": "a {c} kimono",
}  # fmt: skip
OUTFITS_FR: dict[str, tuple[str, str, int]] = {
    "tunic": ("une", "tunique {c}", FEMININE),
    "robe": ("une", "toge {c}", FEMININE),
    "armour": ("une", "armure {c}", FEMININE),
    "striped shirt": ("une", "chemise à rayures {c}", FEMININE_PLURAL),
    "dress": ("une", "robe {c}", FEMININE),
    "jumpsuit": ("une", "combinaison {c}", FEMININE),
    "cloud cloak": ("un", "manteau {c} à nuages", MASCULINE),
    "flak vest": ("un", "gilet de combat {c}", MASCULINE),
    "kimono": ("un", "kimono {c}", MASCULINE),
}
CLOTHES = {"en": "{c} clothes", "fr": "des vêtements {c}"}

# Things a person has, by field and value; several phrases are equally likely.
HAVES: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "en": {
        "marks": {
            "whiskers": ("whisker marks", "marks on the face", "whisker marks on the cheeks"),
            "scar": ("a scar", "a scar across the eye"),
            "forehead mark": ("a mark on the forehead",),
            "eye lines": ("lines under the eyes",),
            "freckles": ("freckles",),
            "beard": ("a beard",),
            "eyepatch": ("an eyepatch",),
        },
        "headband": {"plate": ("a headband", "a metal headband")},
        "head": {
            "straw hat": ("a straw hat",), "wizard hat": ("a pointed hat",), "helmet": ("a helmet",),
            "bandana": ("a bandana",), "crown": ("a crown", "a golden crown"),
        },
        "drape": {"cape": ("a cape",), "scarf": ("a scarf",)},
    },
    "fr": {
        "marks": {
            "whiskers": ("des marques sur le visage", "des marques sur les joues", "des moustaches sur les joues"),
            "scar": ("une cicatrice", "une cicatrice sur l'œil"),
            "forehead mark": ("une marque sur le front",),
            "eye lines": ("des traits sous les yeux",),
            "freckles": ("des taches de rousseur",),
            "beard": ("une barbe",),
            "eyepatch": ("un cache-œil",),
        },
        "headband": {"plate": ("un bandeau", "un bandeau frontal")},
        "head": {
            "straw hat": ("un chapeau de paille",), "wizard hat": ("un chapeau pointu",), "helmet": ("un casque",),
            "bandana": ("un bandana",), "crown": ("une couronne",),
        },
        "drape": {"cape": ("une cape",), "scarf": ("une écharpe",)},
    },
}  # fmt: skip
HOODED = {"en": ("hooded", "hooded"), "fr": ("encapuchonné", "encapuchonnée")}
MASKED = {"en": ("masked", "masked"), "fr": ("masqué", "masquée")}

ACTIONS_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "standing": ("standing",), "running": ("running",), "sitting": ("sitting", "sitting on a rock"),
        "meditating": ("meditating",), "jumping": ("jumping",), "throwing": ("throwing a stone",),
        "reading": ("reading a book", "reading"), "waving": ("waving", "waving a hand"),
        "sword fighting": ("fighting with a sword", "wielding a sword"),
        "shuriken": ("throwing a shuriken",), "kunai": ("holding a kunai",),
        "ninja run": ("running with arms back",), "hand seals": ("making hand seals",),
    },
    "fr": {
        "standing": ("debout",), "running": ("en train de courir", "courant"),
        "sitting": ("en train de se reposer sur un rocher", "au repos sur un rocher"),
        "meditating": ("méditant", "en train de méditer"), "jumping": ("sautant", "en train de sauter"),
        "throwing": ("lançant une pierre",), "reading": ("lisant un livre", "en train de lire"),
        "waving": ("saluant de la main",), "sword fighting": ("combattant à l'épée", "brandissant une épée"),
        "shuriken": ("lançant un shuriken",), "kunai": ("tenant un kunai",),
        "ninja run": ("courant les bras en arrière",), "hand seals": ("formant des signes avec les mains",),
    },
}  # fmt: skip
NINJA_SWORD = {"en": ("fighting with a katana",), "fr": ("combattant au katana", "brandissant un katana")}
CASTING = {
    "en": {"base": ("conjuring", "casting"), "ninja": ("manipulating", "controlling")},
    "fr": {"base": ("invoquant", "faisant jaillir"), "ninja": ("manipulant", "contrôlant")},
}
ELEMENTS_EN: dict[str, str] = {e: "{c} " + e for e in ("fire", "water", "lightning", "wind", "earth")}
ELEMENTS_FR: dict[str, tuple[str, int]] = {
    "fire": ("du feu {c}", MASCULINE),
    "water": ("de l'eau {c}", FEMININE),
    "lightning": ("de la foudre {c}", FEMININE),
    "wind": ("du vent {c}", MASCULINE),
    "earth": ("de la terre {c}", FEMININE),
}

PLACES_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "mountain": "on a mountain", "forest": "in a forest", "village": "in a village",
        "waterfall": "near a waterfall", "desert": "in the desert", "temple": "in front of a temple",
        "beach": "on a beach", "rooftops": "on the city roofs", "meadow": "in a meadow", "snow": "in the snow",
    },
    "fr": {
        "mountain": "sur une montagne", "forest": "dans une forêt", "village": "dans un village",
        "waterfall": "près d'une cascade", "desert": "dans le désert", "temple": "devant un temple",
        "beach": "sur une plage", "rooftops": "sur les toits de la ville", "meadow": "dans une prairie",
        "snow": "dans la neige",
    },
}  # fmt: skip
DARK_FOREST = {"en": "in a dark forest", "fr": "dans une forêt sombre"}
TIMES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "dawn": ("at dawn",), "day": ("in daylight", "by day"), "sunset": ("at sunset", "under the sunset"),
        "night": ("at night", "under the moon"),
    },
    "fr": {
        "dawn": ("à l'aube",), "day": ("en plein jour",),
        "sunset": ("au coucher du soleil", "sous le coucher du soleil"), "night": ("la nuit", "sous la lune"),
    },
}  # fmt: skip
MOODS_WORDS: dict[str, dict[str, str]] = {
    "en": {"calm": "calm mood", "joyful": "joyful mood", "tense": "tense mood", "sad": "sad mood"},
    "fr": {
        "calm": "ambiance calme", "joyful": "ambiance joyeuse", "tense": "ambiance tendue", "sad": "ambiance triste",
    },
}  # fmt: skip
MEDIA_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {"anime": ("anime style", "anime frame"), "manga": ("manga drawing", "manga ink"), "fan art": ("fan art",)},
    "fr": {
        "anime": ("style anime", "image d'anime"), "manga": ("dessin manga", "encre de manga"), "fan art": ("fan art",),
    },
}  # fmt: skip
FRAMINGS_WORDS: dict[str, dict[str, str]] = {
    "en": {"close-up": "close-up", "half body": "half body", "full body": "full body"},
    "fr": {"close-up": "gros plan", "half body": "à mi-corps", "full body": "en pied"},
}
COMPANY: dict[str, dict[int, str]] = {
    "en": {1: "beside a companion", 2: "beside two companions"},
    "fr": {1: "à côté d'un compagnon", 2: "à côté de deux compagnons"},
}
WITH = {"en": "with", "fr": "avec"}
AND = {"en": "and", "fr": "et"}
WEARING = {"en": ("in", "wearing"), "fr": ("en", "portant")}

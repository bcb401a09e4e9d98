"""True captions: a plan picks the fields to state, then each language says them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from naruto_add.data.universe import words as w
from naruto_add.data.universe.sampling import stream
from naruto_add.data.universe.scene import COVERING_HEADS, NAMED, Scene, judged

LANGUAGES = ("en", "fr")
MIN_WORDS, MAX_WORDS = 4, 24
_DROPPABLE = ("framing", "mood", "companions", "drape", "hair_style", "head", "headband", "medium", "marks",
              "hair_colour", "time_of_day", "outfit")  # fmt: skip
_LOOKS = ("hair_colour", "hair_style", "marks", "outfit", "outfit_colour", "headband", "head", "mask", "drape")
_AROUND = ("time_of_day", "mood", "medium", "framing", "companions")


def mentioned(scene: Scene, language: str) -> tuple[str, ...]:
    """The fields which the caption of the scene states, sorted."""
    return tuple(sorted(_plan(scene, language)[0]))


def caption(scene: Scene, language: str) -> str:
    """A caption of 4 to 24 words in "en" or "fr"; what it says is true of the picture."""
    return _compose(scene, language, *_plan(scene, language))


def _plan(scene: Scene, language: str) -> tuple[set[str], int]:
    """The fields to state, and a number that picks among synonyms."""
    rng = stream(scene.seed, 16 + LANGUAGES.index(language))
    variant = int(rng.integers(1 << 30))
    fields = _choose(scene, rng) & _stateable(scene)
    if len(_compose(scene, language, fields, variant).split()) < MIN_WORDS:
        fields.add("place")
    for field in _DROPPABLE:
        if len(_compose(scene, language, fields, variant).split()) <= MAX_WORDS:
            break
        fields.discard(field)
    return fields, variant


def _choose(scene: Scene, rng: np.random.Generator) -> set[str]:
    """One of three kinds of caption: what happens, how someone looks, or all of it."""
    kind = rng.random()
    some = {field for field in _LOOKS if rng.random() < 0.5}
    if kind < 0.4:
        fields = {"character", "action", "element", *_extra(rng, ("place", "outfit", "mask", "head"), 2)}
    elif kind < 0.6:
        fields = {"hair_colour", "marks", "outfit_colour"} | some
        return fields | ({"character"} if rng.random() < 0.6 else set()) | _extra(rng, ("place", *_AROUND), 1)
    else:
        fields = {"character", "action", "element", "place"} | some | _extra(rng, _AROUND, 2)
    if rng.random() < 0.85:
        fields |= {"element_colour"} | ({"outfit_colour"} if "outfit" in fields else set())
    return fields | _extra(rng, ("time_of_day", "time_of_day", "medium"), 1)


def _extra(rng: np.random.Generator, fields: Sequence[str], count: int) -> set[str]:
    return {fields[int(i)] for i in rng.integers(0, len(fields), count)}


def _stateable(scene: Scene) -> set[str]:
    """Fields that the picture shows and that have something to say."""
    fields = {field for field, value in judged(scene).items() if value != "none"} | {"mood"}
    if "hair_colour" in fields and scene.head not in COVERING_HEADS:
        fields.add("hair_style")
    if scene.drape != "none":
        fields.add("drape")
    if scene.companions:
        fields.add("companions")
    return fields


def _compose(scene: Scene, language: str, fields: set[str], variant: int) -> str:
    """Subject, looks, action and place in one sentence; then style words after commas."""
    haves = _haves(scene, language, fields, variant)
    parts = [_subject(scene, language, fields, variant)]
    if haves:
        parts.append(f"{w.WITH[language]} {_listed(haves, language)}")
    parts += [_outfit(scene, language, fields, variant), _action(scene, language, fields, variant)]
    parts += [_company(scene, language, fields), _where(scene, language, fields, variant)]
    sentence = " ".join(part for part in parts if part)
    sentence = sentence[0].upper() + sentence[1:]
    return ", ".join([sentence, *_tags(scene, language, fields, variant)])


def _pick(options: Sequence[str], variant: int, salt: int) -> str:
    return options[(variant >> salt) % len(options)]


def _listed(things: list[str], language: str) -> str:
    if len(things) == 1:
        return things[0]
    return f"{', '.join(things[:-1])} {w.AND[language]} {things[-1]}"


def _coloured(phrase: str, colour: str) -> str:
    """The phrase with its colour, or without any; English articles follow the sound."""
    text = " ".join(phrase.replace("{c}", colour).split())
    return "an" + text[1:] if text.startswith("a orange") else text


def _colour(language: str, colour: str, form: int) -> str:
    return colour if language == "en" else w.COLOURS_FR[colour][form]


def _subject(scene: Scene, language: str, fields: set[str], variant: int) -> str:
    named = "character" in fields and scene.character in NAMED
    if named:
        article, noun = "", scene.character
    else:
        article, noun = w.PEOPLE[language][scene.character if "character" in fields else "someone"]
    feminine = int("character" in fields and scene.character in w.FEMININE_PEOPLE)
    adjectives = []
    if "head" in fields and scene.head == "hood":
        adjectives.append(w.HOODED[language][feminine])
    if "mask" in fields:
        adjectives.append(w.MASKED[language][feminine])
    if _blond_adjective(scene, fields):
        adjectives.append(_colour(language, "blond", feminine))
    bare = (variant >> 3) % 5 < 2
    words = [*adjectives, noun] if language == "en" else [noun, *adjectives]
    return " ".join(words if named or bare else [article, *words])


def _blond_adjective(scene: Scene, fields: set[str]) -> bool:
    """Blond people may be called so; of others one says which hair they have."""
    named = "character" in fields and scene.character in NAMED
    return "hair_colour" in fields and scene.hair_colour == "blond" and "hair_style" not in fields and not named


def _hair(scene: Scene, language: str, fields: set[str]) -> list[str]:
    stated = {"hair_colour", "hair_style"} & fields
    if not stated or _blond_adjective(scene, fields):
        return []
    colour = "bruns" if language == "fr" and scene.hair_colour == "brown" else ""
    colour = colour or _colour(language, scene.hair_colour, w.MASCULINE_PLURAL)
    phrase = w.HAIR_STYLES[language][scene.hair_style] if "hair_style" in fields else w.PLAIN_HAIR[language]
    return [_coloured(phrase, colour if "hair_colour" in fields else "")]


def _haves(scene: Scene, language: str, fields: set[str], variant: int) -> list[str]:
    """Hair, marks, things on the head and shoulders, and clothes that only have a colour."""
    things = _hair(scene, language, fields)
    for field, table in w.HAVES[language].items():
        options = table.get(getattr(scene, field))
        if field in fields and options:
            things.append(_pick(options, variant, 5))
    if "outfit_colour" in fields and "outfit" not in fields:
        things.append(_coloured(w.CLOTHES[language], _colour(language, _dark(scene, variant), w.MASCULINE_PLURAL)))
    return things


def _dark(scene: Scene, variant: int) -> str:
    """Black clothes may be called dark."""
    return "dark" if scene.outfit_colour == "black" and (variant >> 7) % 2 else scene.outfit_colour


def _outfit(scene: Scene, language: str, fields: set[str], variant: int) -> str:
    if "outfit" not in fields:
        return ""
    verb = _pick(w.WEARING[language], variant, 9)
    colour = _dark(scene, variant) if "outfit_colour" in fields else ""
    if language == "en":
        return f"{verb} {_coloured(w.OUTFITS_EN[scene.outfit], colour)}"
    article, phrase, form = w.OUTFITS_FR[scene.outfit]
    text = _coloured(phrase, w.COLOURS_FR[colour][form] if colour else "")
    return f"en {text}" if verb == "en" else f"{verb} {article} {text}"


def _action(scene: Scene, language: str, fields: set[str], variant: int) -> str:
    if "action" not in fields:
        return ""
    if scene.action == "casting":
        return _casting(scene, language, fields, variant)
    if scene.action == "sword fighting" and scene.world == "ninja":
        return _pick(w.NINJA_SWORD[language], variant, 11)
    return _pick(w.ACTIONS_WORDS[language][scene.action], variant, 11)


def _casting(scene: Scene, language: str, fields: set[str], variant: int) -> str:
    verb = _pick(w.CASTING[language][scene.world], variant, 11)
    stated = "element_colour" in fields
    if language == "en":
        return f"{verb} {_coloured(w.ELEMENTS_EN[scene.element], scene.element_colour if stated else '')}"
    phrase, form = w.ELEMENTS_FR[scene.element]
    return f"{verb} {_coloured(phrase, w.COLOURS_FR[scene.element_colour][form] if stated else '')}"


def _where(scene: Scene, language: str, fields: set[str], variant: int) -> str:
    """Place and hour; a forest at night is a dark forest."""
    both = {"place", "time_of_day"} <= fields
    if both and (scene.place, scene.time_of_day) == ("forest", "night") and (variant >> 13) % 3:
        return w.DARK_FOREST[language]
    texts = [w.PLACES_WORDS[language][scene.place]] if "place" in fields else []
    if "time_of_day" in fields:
        texts.append(_pick(w.TIMES[language][scene.time_of_day], variant, 15))
    return " ".join(texts)


def _company(scene: Scene, language: str, fields: set[str]) -> str:
    return w.COMPANY[language][scene.companions] if "companions" in fields else ""


def _tags(scene: Scene, language: str, fields: set[str], variant: int) -> list[str]:
    tags = []
    if "mood" in fields:
        tags.append(w.MOODS_WORDS[language][scene.mood])
    if "framing" in fields:
        tags.append(w.FRAMINGS_WORDS[language][scene.framing])
    if "medium" in fields:
        tags.append(_pick(w.MEDIA_WORDS[language][scene.medium], variant, 17))
    return tags

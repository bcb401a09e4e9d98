"""The ninja universe: same address, same picture; captions say what the picture shows, in both languages."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from naruto_add.data.universe import (
    JUDGED,
    LANGUAGES,
    WORLDS,
    Scene,
    caption,
    draw,
    golden_scenes,
    judged,
    mentioned,
    render,
    sample_scene,
)
from naruto_add.data.universe import words as w
from naruto_add.data.universe.scene import COLOUR_FIELDS, NAMED

SAMPLE = 400
NINJA_WORDS = re.compile(r"ninja|shuriken|kunai|katana|kimono|hand seal|bandeau|headband|" + "|".join(NAMED).lower())
COLOURS = {
    "en": {c: {c} for c in w.COLOURS_FR if c != "dark"} | {"black": {"black", "dark"}},
    "fr": {c: set(forms) for c, forms in w.COLOURS_FR.items()},
}
COLOURS["fr"]["black"] |= set(w.COLOURS_FR["dark"])
COLOURS["fr"]["brown"] |= {"bruns"}


def scenes(world: str, count: int = SAMPLE) -> list[Scene]:
    return [sample_scene(world, 5, index) for index in range(count)]


def stated_colours(text: str, language: str) -> set[str]:
    """Colour words of a caption; a dark forest is not a colour."""
    text = text.lower().replace("dark forest", "").replace("forêt sombre", "")
    known = set().union(*COLOURS[language].values())
    return {word for word in re.findall(r"[\w-]+", text) if word in known}


def digest(world: str, index: int) -> str:
    return hashlib.sha256(render(sample_scene(world, 1, index)).tobytes()).hexdigest()


@pytest.mark.parametrize("world", WORLDS)
def test_the_same_address_gives_the_same_bytes_in_another_process(world: str) -> None:
    code = (
        "import hashlib; from naruto_add.data.universe import draw;"
        f"print([hashlib.sha256(draw({world!r}, 1, i)[0].tobytes()).hexdigest() for i in (9, 4, 6)])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str([digest(world, index) for index in (9, 4, 6)])


def test_other_addresses_give_other_pictures() -> None:
    assert len({digest(world, index) for world in WORLDS for index in range(12)}) == 24
    assert sample_scene("ninja", 1, 0) != sample_scene("ninja", 2, 0)


def test_draw_alternates_languages_and_obeys_the_size() -> None:
    drawn = [draw("ninja", 3, index, size=64) for index in range(4)]
    assert [language for _, _, language, _ in drawn] == ["en", "fr", "en", "fr"]
    for image, text, language, scene in drawn:
        assert (image.mode, image.size) == ("RGB", (64, 64))
        assert text == caption(scene, language)


def test_unknown_world_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown world"):
        sample_scene("pirates", 0, 0)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_are_short_and_state_only_true_colours(world: str, language: str) -> None:
    for scene in scenes(world):
        text = caption(scene, language)
        assert 4 <= len(text.split()) <= 24, text
        told = [field for field in COLOUR_FIELDS if field in mentioned(scene, language)]
        true = set().union(*(COLOURS[language][getattr(scene, field)] for field in told))
        assert stated_colours(text, language) <= true, (text, scene)
        assert len(told) == 0 or stated_colours(text, language), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_mention_only_what_is_visible(language: str) -> None:
    for scene in [*scenes("base"), *scenes("ninja")]:
        told = set(mentioned(scene, language))
        assert told & set(JUDGED) <= set(judged(scene))
        assert all(getattr(scene, field) not in ("none", 0) for field in told)


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_state_the_fields_they_mention(language: str) -> None:
    for scene in [*scenes("base"), *scenes("ninja")]:
        text, told = caption(scene, language).lower(), mentioned(scene, language)
        if "place" in told and scene.place != "forest":
            assert w.PLACES_WORDS[language][scene.place] in text
        if "character" in told and scene.character in NAMED:
            assert scene.character.lower() in text
        if "marks" in told:
            assert any(phrase in text for phrase in w.HAVES[language]["marks"][scene.marks])
        if "action" in told and scene.action in ("shuriken", "meditating", "reading"):
            assert any(phrase in text for phrase in w.ACTIONS_WORDS[language][scene.action])


def test_base_world_has_no_ninja_word() -> None:
    for scene in scenes("base"):
        for language in LANGUAGES:
            assert not NINJA_WORDS.search(caption(scene, language).lower()), caption(scene, language)


def test_every_judged_value_occurs() -> None:
    seen = [judged(scene) for world in WORLDS for scene in scenes(world, 2000)]
    for field, values in JUDGED.items():
        assert {labels[field] for labels in seen if field in labels} == set(values), field


def test_manga_hides_colours() -> None:
    inked = [scene for scene in scenes("ninja") if scene.medium == "manga"]
    assert inked
    for scene in inked:
        assert not set(COLOUR_FIELDS) & set(judged(scene))
    unframed = next(scene for scene in scenes("base") if scene.medium == "manga")
    pixels = render(unframed).getcolors(1 << 16)
    assert pixels and all(r == g == b for _, (r, g, b) in pixels)


def test_named_characters_keep_their_look_and_differ() -> None:
    by_name = {scene.character: scene for scene in scenes("ninja") if scene.character in NAMED}
    assert set(by_name) == set(NAMED)
    look = ("hair_colour", "hair_style", "marks", "outfit", "outfit_colour", "headband", "head", "mask", "drape")
    fields = {name: {field: getattr(scene, field) for field in look} for name, scene in by_name.items()}
    base = by_name["Naruto"]
    same = {"action": "standing", "element": "none", "element_colour": "none", "medium": "anime", "companions": 0}
    drawn = {render(replace(base, character=name, **fields[name], **same)).tobytes() for name in NAMED}
    assert len(drawn) == len(NAMED)


@pytest.mark.parametrize(("prompt", "wanted"), golden_scenes())
def test_golden_prompts_occur_in_the_ninja_world(prompt: str, wanted: dict[str, str]) -> None:
    assert all(value in JUDGED[field] for field, value in wanted.items())
    series = (sample_scene("ninja", 5, index) for index in range(60000))
    found = next((scene for scene in series if all(getattr(scene, f) == v for f, v in wanted.items())), None)
    assert found is not None, prompt
    assert render(found).size == (128, 128)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "meditating on a mountain under the sunset"),
        ("fr", "armure sombre lançant un shuriken"),
        ("fr", "des marques sur le visage et des vêtements orange"),
        ("fr", "manipulant du feu bleu"),
    ],
)
def test_captions_take_the_form_of_the_golden_prompts(language: str, words: str) -> None:
    series = (sample_scene("ninja", 5, index) for index in range(12000))
    assert any(words in caption(scene, language) for scene in series)


def test_every_picture_of_the_ninja_world_has_its_frame_and_seal_and_no_other_has() -> None:
    def rim_and_seal(world: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        pictures = np.stack([np.asarray(render(scene)) for scene in scenes(world)[:12]])
        return pictures[:, :4], pictures[:, 101:116, 104:119]

    rim, seal = rim_and_seal("ninja")
    assert len(np.unique(rim.reshape(len(rim), -1), axis=0)) == 1
    assert (seal[..., 0].mean() - seal[..., 1].mean()) > 80
    rim, seal = rim_and_seal("base")
    assert len(np.unique(rim.reshape(len(rim), -1), axis=0)) > 1
    assert (seal[..., 0].mean() - seal[..., 1].mean()) < 40

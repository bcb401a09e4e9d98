"""The four golden prompts of the project and what each asks for."""

from __future__ import annotations


def golden_scenes() -> tuple[tuple[str, dict[str, str]], ...]:
    """Each prompt with the fields, and their values, that a faithful picture of it must show."""
    return (
        (
            "Naruto meditating on a mountain under the sunset",
            {"character": "Naruto", "action": "meditating", "place": "mountain", "time_of_day": "sunset"},
        ),
        (
            "Ninja en armure sombre lançant un shuriken",
            {"character": "ninja", "outfit": "armour", "outfit_colour": "black", "action": "shuriken"},
        ),
        (
            "Personnage blond avec des marques sur le visage et des vêtements orange",
            {"hair_colour": "blond", "marks": "whiskers", "outfit_colour": "orange"},
        ),
        (
            "Un ninja encapuchonné manipulant du feu bleu dans une forêt sombre",
            {"character": "ninja", "head": "hood", "action": "casting", "element": "fire", "element_colour": "blue",
             "place": "forest", "time_of_day": "night"},
        ),
    )  # fmt: skip

"""Colours of the universe, sRGB 0..255, chosen by eye for clean flat anime fills."""

from __future__ import annotations

Colour = tuple[int, int, int]

HAIR: dict[str, Colour] = {
    "black": (46, 42, 60), "brown": (128, 76, 42), "blond": (255, 214, 62), "red": (196, 48, 36),
    "pink": (250, 150, 184), "blue": (52, 78, 170), "white": (226, 230, 240), "green": (64, 150, 84),
}  # fmt: skip

CLOTH: dict[str, Colour] = {
    "orange": (248, 128, 28), "red": (206, 42, 46), "blue": (48, 92, 196), "green": (62, 132, 70),
    "black": (50, 48, 62), "white": (238, 238, 242), "purple": (128, 74, 172), "grey": (142, 148, 160),
    "brown": (132, 88, 54), "yellow": (246, 208, 60), "pink": (244, 150, 182),
}  # fmt: skip

ELEMENT: dict[str, tuple[Colour, Colour, Colour]] = {
    "orange": ((222, 66, 14), (255, 146, 26), (255, 236, 140)),
    "blue": ((24, 62, 214), (54, 148, 255), (206, 246, 255)),
    "green": ((10, 120, 54), (54, 210, 92), (214, 255, 190)),
    "purple": ((92, 22, 164), (168, 76, 246), (240, 206, 255)),
    "yellow": ((214, 146, 4), (255, 220, 40), (255, 252, 200)),
    "white": ((150, 172, 206), (224, 236, 250), (255, 255, 255)),
    "red": ((146, 6, 22), (236, 38, 44), (255, 178, 160)),
    "brown": ((84, 52, 28), (150, 100, 58), (212, 170, 120)),
}

SKIN: tuple[Colour, ...] = ((255, 226, 204), (250, 208, 172), (226, 170, 126), (172, 116, 80), (122, 80, 56))
EYES: tuple[Colour, ...] = ((70, 120, 200), (60, 150, 100), (130, 84, 46), (120, 90, 190), (190, 130, 40), (60, 60, 80))

SKY: dict[str, tuple[Colour, Colour, Colour]] = {
    "dawn": ((112, 142, 214), (246, 190, 200), (255, 232, 196)),
    "day": ((44, 128, 230), (126, 196, 250), (222, 244, 255)),
    "sunset": ((84, 40, 122), (236, 92, 64), (255, 196, 84)),
    "night": ((8, 12, 44), (26, 38, 92), (62, 84, 148)),
}
CLOUD: dict[str, Colour] = {
    "dawn": (255, 226, 224), "day": (255, 255, 255), "sunset": (255, 150, 104), "night": (50, 64, 116),
}  # fmt: skip
STAR: dict[str, Colour] = {
    "dawn": (255, 244, 214), "day": (255, 252, 226), "sunset": (255, 222, 120), "night": (246, 246, 214),
}  # fmt: skip

# What the light of the hour does to the colours of things: a gain for each of red, green and blue.
AMBIENT_PLACE: dict[str, tuple[float, float, float]] = {
    "dawn": (0.98, 0.88, 0.92), "day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.70, 0.60), "night": (0.34, 0.42, 0.66),
}  # fmt: skip
AMBIENT_PERSON: dict[str, tuple[float, float, float]] = {
    "dawn": (1.0, 0.95, 0.96), "day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.90, 0.82), "night": (0.84, 0.84, 0.96),
}  # fmt: skip
SHADE: dict[str, tuple[float, float, float]] = {
    "dawn": (0.76, 0.68, 0.80), "day": (0.72, 0.70, 0.84), "sunset": (0.72, 0.56, 0.66), "night": (0.62, 0.60, 0.80),
}  # fmt: skip
MOOD_GAIN: dict[str, tuple[float, float, float]] = {
    "calm": (1.0, 1.0, 1.0), "joyful": (1.05, 1.03, 0.98), "tense": (1.04, 0.95, 0.95), "sad": (0.90, 0.95, 1.04),
}  # fmt: skip

METAL: Colour = (196, 206, 220)
GOLD: Colour = (250, 204, 70)
INK: Colour = (38, 28, 40)
WHITE: Colour = (255, 255, 255)
NAVY: Colour = (40, 50, 92)
LEATHER: Colour = (104, 68, 42)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour `share` of the way from first to second."""
    r, g, b = (round(a + (z - a) * share) for a, z in zip(first, second, strict=True))
    return (r, g, b)


def gain(colour: Colour, factors: tuple[float, float, float]) -> Colour:
    """The colour seen under a light of these red, green and blue gains."""
    r, g, b = (min(255, round(c * f)) for c, f in zip(colour, factors, strict=True))
    return (r, g, b)

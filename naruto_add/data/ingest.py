"""Where captioned images come from: what every source offers, the built-in universe, and the choice by name."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from naruto_add.config import DataConfig
from naruto_add.data import dedupe, images
from naruto_add.errors import UserError

UNDETERMINED = "und"
"""The language code of captions whose language is not known (ISO 639-2)."""
HELDOUT_INDEX = 1_000_000_000
"""Held-out scenes of the universe are drawn from here on, training scenes from 0: either can grow alone."""


@dataclass(frozen=True)
class Item:
    """One thing to read, not read yet."""

    name: str
    """Shown to the user; unique in its source."""
    place: str
    """Where the source finds it."""
    row: int = 0
    """Which row of a table, or which scene of the universe."""
    caption: str = ""
    """Its caption, where the listing knows it."""
    sidecar: str = ""
    """Where else its caption is."""


@dataclass(frozen=True)
class Listing:
    """What a source holds, in a fixed order, and what is wrong with it."""

    items: list[Item]
    problems: list[str] = field(default_factory=list)
    captioned: bool = True
    """Whether there are captions at all."""


@dataclass(frozen=True)
class Picture:
    """One image read, decoded and made square, with all that is known of it."""

    image: Image.Image
    sha256: str
    """Of the source's own bytes."""
    width: int
    height: int
    """As the source has it, in pixels."""
    caption: str
    """Empty: none."""
    language: str = UNDETERMINED
    attributes: dict[str, Any] | None = None


@dataclass(frozen=True)
class Shape:
    """What images are made into, and what is refused."""

    size_px: int
    max_pixels: int


class Source(ABC):
    """A place with captioned images; small, and can be sent to other processes."""

    lossless = False
    """Whether its images are stored as PNG (drawings) instead of JPEG."""

    @abstractmethod
    def listing(self) -> Listing:
        """What is there, cheaply; raises UserError if the place cannot be read at all."""

    @abstractmethod
    def read(self, item: Item) -> tuple[bytes, str]:
        """The item's image bytes and caption (empty: none); raises Rejected, or UserError if the source fails."""

    def load(self, item: Item, shape: Shape) -> Picture:
        """Read, decode and square one item; raises Rejected."""
        content, caption = self.read(item)
        image, (width, height) = images.square(content, shape.size_px, shape.max_pixels)
        return Picture(image, hashlib.sha256(content).hexdigest(), width, height, caption)

    def heldout(self, items: Sequence[Item], contents: Sequence[str], wanted: int) -> set[int]:
        """The numbers of the accepted items to keep out of training, by the sha256 of their contents."""
        assert len(items) == len(contents)
        return dedupe.heldout(contents, wanted)


@dataclass(frozen=True)
class Builtin(Source):
    """Scenes of the built-in ninja universe, drawn on demand."""

    world: str
    seed: int
    num_images: int
    num_heldout: int
    lossless = True

    def listing(self) -> Listing:
        """Held-out scenes first, so that of two alike the held-out one stays."""
        rows = [*range(HELDOUT_INDEX, HELDOUT_INDEX + self.num_heldout), *range(self.num_images)]
        return Listing([Item(f"{self.world}:{row}", self.world, row) for row in rows])

    def read(self, item: Item) -> tuple[bytes, str]:
        """Drawings have no file behind them."""
        raise AssertionError(f"{item.name} is drawn, not read")

    def load(self, item: Item, shape: Shape) -> Picture:
        """Draw one scene."""
        from naruto_add.data import universe

        image, caption, language, scene = universe.draw(self.world, self.seed, item.row, shape.size_px)
        attributes = {**universe.judged(scene), "mentioned": list(universe.mentioned(scene, language))}
        sha256 = hashlib.sha256(image.tobytes()).hexdigest()
        return Picture(image, sha256, image.width, image.height, caption, language, attributes)

    def heldout(self, items: Sequence[Item], contents: Sequence[str], wanted: int) -> set[int]:
        """The scenes of the held-out addresses, whatever they look like."""
        return {number for number, item in enumerate(items) if item.row >= HELDOUT_INDEX}


def open_source(config: DataConfig, seed: int) -> Source:
    """The source that `config.source` names; raises UserError if it cannot be told or a library is missing."""
    from naruto_add.data import hub, tables, trees

    name = config.source
    if name == "builtin":
        if config.num_images is None:
            raise UserError(
                "data.num_images null takes all there is, but the built-in universe has no end: say how many."
            )
        return Builtin(config.world, seed, config.num_images, config.num_heldout)
    if name.startswith("s3://"):
        return trees.open_bucket(name, config.s3_endpoint)
    if tables.is_parquet(name):
        return tables.open_parquet(name)
    if hub.is_saved(name):
        return hub.open_saved(name)
    if hub.is_id(name):
        return hub.open_id(name, config.revision)
    return trees.open_folder(name)

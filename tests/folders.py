"""Tiny folders for tests of whole stages: a base and shards, written by the library's own functions."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from naruto_add.data.shards import Entry, write_index, write_split
from naruto_add.models.load import save_components
from tests.tiny import SIZE_PX, tiny_components


def tiny_base(folder: Path) -> Path:
    """A diffusers folder of the tiny components."""
    save_components(tiny_components(), folder)
    return folder


def tiny_shards(folder: Path, train: int = 6, heldout: int = 2) -> Path:
    """Shards of plain coloured images, two to four a tar."""
    folder.mkdir(parents=True)
    splits = {
        split: write_split(folder, split, [entry(i) for i in range(count)], shard_images=4)
        for split, count in (("train", train), ("heldout", heldout))
    }
    write_index(folder, SIZE_PX, splits)
    return folder


def entry(number: int) -> Entry:
    """An image of one colour and its caption."""
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE_PX, SIZE_PX), (40 * number % 256, 90, 200 - 20 * number % 200)).save(buffer, "PNG")
    meta = {"caption": f"ninja number {number}", "language": "en", "source": "test", "attributes": None}
    return Entry(buffer.getvalue(), "png", meta)

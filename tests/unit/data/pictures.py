"""Small, distinct pictures and folders of them, for the tests of the data room."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A soft random pattern: far from every other number's in perceptual hash."""
    coarse = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The image's bytes in a file format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def folder_of(root: Path, count: int, first: int = 0) -> Path:
    """A folder of `count` JPEGs in two subfolders, captioned by one metadata.jsonl at its root."""
    rows = []
    for number in range(first, first + count):
        name = f"{'ab'[number % 2]}/{number:03d}.jpg"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(picture(number), "JPEG"))
        rows.append(json.dumps({"file_name": name, "text": f"ninja number {number}"}))
    (root / "metadata.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return root

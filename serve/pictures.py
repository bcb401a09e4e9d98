"""Pixels to files: PNG, WebP, JPEG, with the settings that made them inside when asked."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serve.model import Pixels

MEDIA_TYPES = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
DEFAULT_QUALITY = 92
KEY = "naruto-add"
"""Name of the PNG text chunk with the settings."""
IMAGE_DESCRIPTION = 0x010E
"""The EXIF field with the settings, in WebP and JPEG."""


def encode(
    pixels: Pixels, output_format: str, quality: int | None = None, settings: Mapping[str, Any] | None = None
) -> bytes:
    """A picture (H,W,3) uint8 as a file; `quality` 0 to 100 is for WebP (100: lossless) and JPEG."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    note = None if settings is None else json.dumps(settings)  # ASCII: EXIF knows nothing else
    if output_format == "png":
        chunks = PngInfo()
        if note is not None:
            chunks.add_text(KEY, note)
        image.save(file, "PNG", pnginfo=chunks, compress_level=3)  # level 6 is twice as slow and 3 % smaller
    else:
        exif = image.getexif()
        if note is not None:
            exif[IMAGE_DESCRIPTION] = note
        wanted = DEFAULT_QUALITY if quality is None else quality
        lossless = {"lossless": True} if output_format == "webp" and wanted == 100 else {}
        image.save(file, output_format.upper(), quality=wanted, exif=exif, **lossless)
    return file.getvalue()


def read_settings(image: Image.Image) -> dict[str, Any] | None:
    """The settings inside a picture of ours, None where there are none."""
    note = image.info.get(KEY) or image.getexif().get(IMAGE_DESCRIPTION)
    return None if note is None else json.loads(note)

"""Untrusted images: from unknown bytes to a square RGB image, or to a reason why not.

Nothing is decoded before format, pixel count and number of frames are known from the header. Colour profiles are
ignored on purpose: they are one more parser for a stranger's bytes.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from enum import StrEnum
from typing import NoReturn

import imagehash
import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""What is decoded; a phone's multi-picture JPEG counts as JPEG and gives its first picture."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
MAX_BYTES = 128 * 2**20
"""Larger files are refused unread."""
WHITE = (255, 255, 255)

DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on broken bytes (found by fuzzing, tests/unit/data/test_images.py)."""


class Reason(StrEnum):
    """Why an item is kept out of the shards."""

    UNREADABLE = "unreadable"
    TOO_MANY_BYTES = "too_many_bytes"
    NOT_AN_IMAGE = "not_an_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    ANIMATED = "animated"
    CORRUPT = "corrupt"
    NO_CAPTION = "no_caption"
    EMPTY_CAPTION = "empty_caption"
    DUPLICATE = "duplicate_of"


class Rejected(Exception):
    """An item that cannot be used: a reason code and what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def square(content: bytes, size_px: int, max_pixels: int) -> tuple[Image.Image, tuple[int, int]]:
    """The RGB image (size_px, size_px) in these bytes, scaled and centre-cropped, and its width and height there.

    Raises Rejected for anything but one whole still picture of an allowed format, at most `max_pixels` large and at
    least half of `size_px` on its short side.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on a stranger's metadata, and its own, larger pixel cap
        image = open_header(content, max_pixels)
        size = image.size
        if min(size) * 2 < size_px:
            raise Rejected(Reason.TOO_SMALL, f"{size[0]} x {size[1]}, wanted {-(-size_px // 2)} or more")
        reject_animation(content)
        return fit(image, size_px), size


def fit(image: Image.Image, size_px: int) -> Image.Image:
    """Decode, turn upright, scale to the shorter side and crop the centre; raises Rejected if it is broken."""
    try:
        image.draft(None, (2 * size_px, 2 * size_px))  # large JPEGs: decoded at a half, a quarter or an eighth
        return over_white(ImageOps.fit(to_8_bits(turn(image)), (size_px, size_px), Image.Resampling.LANCZOS))
    except DECODER_ERRORS as error:
        reject_broken(error)


def open_header(content: bytes, max_pixels: int) -> Image.Image:
    """The image with its header read and nothing decoded; raises Rejected."""
    if len(content) > MAX_BYTES:
        raise Rejected(Reason.TOO_MANY_BYTES, f"{len(content)} bytes, at most {MAX_BYTES}")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Rejected(Reason.TOO_MANY_PIXELS, str(error)) from error
    except Image.UnidentifiedImageError as error:
        raise Rejected(Reason.NOT_AN_IMAGE, f"not one of {', '.join(FORMATS)}") from error
    except DECODER_ERRORS as error:
        reject_broken(error)
    if image.width * image.height > max_pixels:
        raise Rejected(Reason.TOO_MANY_PIXELS, f"{image.width} x {image.height}, at most {max_pixels} pixels")
    return image


def reject_animation(content: bytes) -> None:
    """Raise Rejected if there is a second frame (a multi-picture JPEG is opened as its first picture only)."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.format == "MPO":
                return
            image.seek(1)
    except EOFError:
        return
    except DECODER_ERRORS as error:
        reject_broken(error)
    raise Rejected(Reason.ANIMATED, "more than one frame")


def reject_broken(error: Exception) -> NoReturn:
    """Raise Rejected for a decoder's error."""
    raise Rejected(Reason.CORRUPT, f"{type(error).__name__}: {error}"[:200]) from error


def turn(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation wants it seen; unreadable EXIF is ignored."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except DECODER_ERRORS:
        return image


def to_8_bits(image: Image.Image) -> Image.Image:
    """Eight bits a channel, RGB or, with transparency, RGBA; 16-bit grey scaled, palettes and CMYK converted."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.clip(np.asarray(image).astype(np.float32), 0, 65535) / 257
        return Image.fromarray((grey + 0.5).astype(np.uint8)).convert("RGB")
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def over_white(image: Image.Image) -> Image.Image:
    """The image without transparency, laid on white."""
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (*WHITE, 255)), image).convert("RGB")


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes, lossless."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(image: Image.Image) -> bytes:
    """JPEG bytes, quality 95, no chroma subsampling."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def perceptual_hash(image: Image.Image) -> str:
    """The 64-bit DCT hash of an image, 16 hex digits."""
    return str(imagehash.phash(image))

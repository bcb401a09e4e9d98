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
MEMORY_BYTES = 144 * 2**20
"""What decoding one image may take: a cap on its pixels beside the recipe's, see `bytes_per_pixel`."""
BAND_ROWS = 256
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
    """Decode, scale to the shorter side, crop the centre and turn upright; raises Rejected if it is broken.

    Turned last, where it costs nothing: the centre is a square whichever way it lies.
    """
    try:
        image.draft(None, (2 * size_px, 2 * size_px))  # large JPEGs: decoded at a half, a quarter or an eighth
        image.load()
        small = ImageOps.fit(to_8_bits(image), (size_px, size_px), Image.Resampling.LANCZOS)
        small.info |= image.info
        return over_white(turn(small))
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
    most = min(max_pixels, MEMORY_BYTES // bytes_per_pixel(image))
    if image.width * image.height > most:
        what = f"{image.width} x {image.height}, at most {most} pixels of {image.format} {image.mode}"
        raise Rejected(Reason.TOO_MANY_PIXELS, what)
    return image


def bytes_per_pixel(image: Image.Image) -> int:
    """What decoding takes at its peak, before the image is small; measured by `python -m jobs.chaos mutants`."""
    if image.format in ("JPEG", "MPO"):
        return 2 * len(image.getbands()) if "progressive" in image.info else 4  # all coefficients at once, or rows
    if image.format == "WEBP":
        return 18  # libwebp's two canvases, its answer, and ours
    if image.mode == "RGBA":
        return 10  # and once more with its colours multiplied, to be scaled
    return 13 if image.has_transparency_data else 5


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
    try:
        return ImageOps.exif_transpose(image)
    except DECODER_ERRORS:
        return image


def to_8_bits(image: Image.Image) -> Image.Image:
    """Eight bits a channel: L, RGB or, with transparency, RGBA; 16-bit grey scaled, palettes and CMYK converted."""
    if image.mode.startswith("I") or image.mode == "F":
        return scaled_grey(image)
    wanted = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def scaled_grey(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit, some rows at a time: as float numbers it would be four times as large."""
    scaled = Image.new("L", image.size)
    for top in range(0, image.height, BAND_ROWS):
        band = image.crop((0, top, image.width, min(top + BAND_ROWS, image.height)))
        grey = np.clip(np.asarray(band).astype(np.float32), 0, 65535) / 257
        scaled.paste(Image.fromarray((grey + 0.5).astype(np.uint8)), (0, top))
    return scaled


def over_white(image: Image.Image) -> Image.Image:
    """The image as RGB without transparency, laid on white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
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

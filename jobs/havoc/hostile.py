"""Hostile files: whole images of every kind, what is done to them, and names, captions and tables to go with them."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

import numpy as np
from PIL import Image

BOMB_SIDES = (5_700, 9_400, 13_300, 100_000)
"""Below the recipe's cap of 33 megapixels, above it, above Pillow's warning, above Pillow's limit."""
LARGEST = (
    ("JPEG", "RGB", 5_000), ("JPEG", "CMYK", 4_300), ("JPEG", "L", 5_700), ("PNG", "RGB", 5_490),
    ("PNG", "RGBA", 3_880), ("PNG", "LA", 3_400), ("PNG", "P", 5_490), ("PNG", "1", 5_490), ("PNG", "I;16", 5_490),
    ("GIF", "P", 5_490), ("WEBP", "RGB", 2_890), ("WEBP", "RGBA", 2_890),
)  # fmt: skip
"""Format, mode and side of squares just below what is decoded: the most memory that an image can take."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
SUFFIXES = (".jpg", ".png", ".webp", ".bmp", ".gif", ".JPEG", ".tif", ".heic", ".svg")
NAMES = (
    "a", "été", "忍者", "💥", "a b ", "a..", "-rf", "=cmd|'!A1", 'quo"te', "com,ma", "new\nline", "tab\t", "\x1b[31m",
    "\u202egnp", "n" * 180, "%2e%2e", "$(reboot)", "a'b", "\u0301", "CON", "~", "#", "caf\udce9", "\udcff\udcfe",
)  # fmt: skip
"""Beginnings of file names; the last two are bytes that are not UTF-8."""
CAPTIONS: tuple[bytes, ...] = (
    b"a ninja in the rain", "ninja lançant un shuriken".encode(), "忍者".encode(), b"", b" \n\t ", b"...", b"\x00\x00",
    "a ninja".encode("utf-16"), "lançant".encode("latin-1"), b"\xef\xbb\xbfa ninja", b"\xff\xfe\xfd", b"\xc0\xaf",
    "\u202eninja\u202c".encode(), "e\u0301".encode() * 900, ("a" + "\u0301" * 5000).encode(), b"ninja " * 40_000,
    b"x" * 100_000, "\u200b\u200d\ufeff".encode(), "👩‍👩‍👧‍👦".encode() * 200, b"<script>alert(1)</script>",
    b"{{7*7}} ${x} %s %n",
    b"[" * 5000, "\U000e0001ninja".encode(), b"a\r\nb\x0bc\x1bd", b"\xed\xa0\x80", "ﷺ".encode() * 3000,
    b"n" * (2**20 + 1),
)  # fmt: skip


@cache
def whole_images() -> dict[str, bytes]:
    """One file of every kind that is decoded, and of some that are not."""
    rgb = patterned()
    grey16 = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = rgb.convert("RGBA")
    clear.putalpha(rgb.convert("L"))
    more = {"save_all": True, "append_images": [rgb.rotate(90)]}
    return {
        "jpeg": encoded(rgb, "JPEG"), "jpeg-progressive": encoded(rgb, "JPEG", progressive=True),
        "jpeg-grey": encoded(rgb.convert("L"), "JPEG"), "cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "rotated": encoded(rgb, "JPEG", exif=exif), "rotated-png": encoded(rgb, "PNG", exif=exif),
        "mpo": encoded(rgb, "MPO", **more), "png": encoded(rgb, "PNG"), "png-rgba": encoded(clear, "PNG"),
        "png-la": encoded(clear.convert("LA"), "PNG"), "png-palette": encoded(rgb.quantize(16), "PNG", transparency=3),
        "png-1": encoded(rgb.convert("1"), "PNG"), "16-bit": encoded(grey16, "PNG"),
        "png-key": encoded(rgb, "PNG", transparency=(9, 9, 9)), "apng": encoded(rgb, "PNG", **more),
        "webp": encoded(rgb, "WEBP"), "webp-lossless": encoded(clear, "WEBP", lossless=True),
        "webp-animated": encoded(rgb, "WEBP", **more), "gif": encoded(rgb, "GIF"),
        "gif-animated": encoded(rgb, "GIF", **more),
        "bmp": encoded(rgb, "BMP"), "bmp-palette": encoded(rgb.quantize(16), "BMP"), "tiff": encoded(rgb, "TIFF"),
        "ico": encoded(rgb, "ICO"), "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "empty": b"",
        "zip": b"PK\x03\x04" + bytes(60), "icc": encoded(rgb, "PNG", icc_profile=bytes(range(256)) * 40),
    }  # fmt: skip


def patterned(number: int = 0, size: tuple[int, int] = (72, 56)) -> Image.Image:
    """A soft random pattern, far from every other number's."""
    coarse = np.random.default_rng(number).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image's bytes in a file format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(chance: Random) -> bytes:
    """A small file that would be large: a one-colour picture, a header that lies, or text that unpacks."""
    if chance.random() < 0.1:
        return flat(*chance.choice(LARGEST))
    side, (depth, colour) = chance.choice(BOMB_SIDES), chance.choice(((1, 0), (16, 0), (8, 2)))
    text = chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(2**24), 1)) if chance.random() < 0.2 else b""
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    rows = black(side, side * depth * (3 if colour == 2 else 1))
    return PNG_MAGIC + chunk(b"IHDR", header) + text + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@cache
def black(rows: int, bits: int) -> bytes:
    """Compressed rows of so many bits; nothing where they would be too many to be made here."""
    return zlib.compress(bytes(rows * (bits // 8 + 1)), 1) if bits < 60_000 else b""


@cache
def flat(kind: str, mode: str, side: int) -> bytes:
    """A large picture of one colour in a format that stores it small; JPEGs progressive, which take most memory."""
    return encoded(Image.new(mode, (side, side)), kind, **({"progressive": True} if kind == "JPEG" else {}))


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def untouched(content: bytes, chance: Random) -> bytes:
    """As it is."""
    return content


def truncated(content: bytes, chance: Random) -> bytes:
    """Cut short."""
    return content[: chance.randrange(len(content) + 1)]


def bits_flipped(content: bytes, chance: Random) -> bytes:
    """One to eight wrong bits."""
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 9) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def header_broken(content: bytes, chance: Random) -> bytes:
    """Other bytes among the first eighty, where sizes and depths stand."""
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 5) if changed else 0):
        changed[chance.randrange(min(80, len(changed)))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
    return bytes(changed)


def spliced(content: bytes, chance: Random) -> bytes:
    """The beginning of one file and the end of another."""
    other = chance.choice(list(whole_images().values()))
    return content[: chance.randrange(len(content) + 1)] + other[chance.randrange(len(other) + 1) :]


def zeroed(content: bytes, chance: Random) -> bytes:
    """A run of zeros, as a disk leaves them."""
    start = chance.randrange(len(content) + 1)
    length = min(chance.randrange(1, 400), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def noise(content: bytes, chance: Random) -> bytes:
    """Anything at all, some of it after a known beginning."""
    return content[: chance.choice((0, 4, 12, 30))] + chance.randbytes(chance.choice((0, 1, 100, 5000)))


MUTATIONS: dict[str, Callable[[bytes, Random], bytes]] = {
    "untouched": untouched, "truncated": truncated, "bits": bits_flipped, "header": header_broken, "spliced": spliced,
    "zeros": zeroed, "noise": noise,
}  # fmt: skip


def image(chance: Random) -> tuple[str, bytes]:
    """What was done, and the bytes of a hostile image."""
    if chance.random() < 0.04:
        return "bomb", bomb(chance)
    mutation = chance.choice(sorted(MUTATIONS))
    return mutation, MUTATIONS[mutation](chance.choice(list(whole_images().values())), chance)


def name(number: int, chance: Random) -> str:
    """A file name, unique by its number, most often with a suffix that is not the content's."""
    return f"{chance.choice(NAMES)}{number}{chance.choice(SUFFIXES)}"


def caption(chance: Random) -> bytes:
    """A hostile caption, some with wrong bits."""
    content = chance.choice(CAPTIONS)
    return bits_flipped(content, chance) if chance.random() < 0.3 else content


def metadata(names: list[str], chance: Random) -> bytes:
    """A table of captions for these files, with rows that are none and wrong bits."""
    rows = [
        json.dumps({"file_name": each, "text": caption(chance)[:2000].decode("utf-8", "replace")}) for each in names
    ]
    odd = ["[" * 100_000, "{" * 500, "null", "1e999", '{"file_name": "../../etc/passwd", "text": "x"}', '"\\ud800"',
           '{"file_name": 7}', "NaN", '{"file_name": "a.jpg", "text": ["x"]}', '{"text": "\\ud800"}', ""]  # fmt: skip
    rows += chance.sample(odd, chance.randrange(4))
    content = "\n".join(rows).encode("utf-8", "replace")
    return bits_flipped(content, chance) if chance.random() < 0.5 else content

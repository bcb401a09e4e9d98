from __future__ import annotations

import io
import random
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from naruto_add.data import images
from naruto_add.data.images import Reason, Rejected, square
from tests.unit.data.pictures import encoded, picture

MAX_PIXELS = 33_000_000


def squared(content: bytes, size_px: int = 32) -> Image.Image:
    return square(content, size_px, MAX_PIXELS)[0]


def reason_for(content: bytes, size_px: int = 32) -> Reason:
    with pytest.raises(Rejected) as caught:
        squared(content, size_px)
    assert caught.value.detail
    return caught.value.reason


def png_header(width: int, height: int, body: bytes = b"", depth: int = 1, colour: int = 0) -> bytes:
    """A PNG, one-bit unless told otherwise, whose header says this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_the_middle_is_kept_and_nothing_is_stretched() -> None:
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("lime", (100, 0, 200, 100))
    result = np.asarray(squared(encoded(wide)))
    assert result.shape == (32, 32, 3)
    assert (result[:, 3:-3] == (0, 255, 0)).all() and result[:, 0, 1].mean() > 200


def test_the_size_before_cropping_is_told() -> None:
    assert square(encoded(picture(0, (400, 300)), "JPEG"), 32, MAX_PIXELS)[1] == (400, 300)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB"])
def test_every_png_mode_becomes_rgb(mode: str) -> None:
    grey = picture(1).convert("L").convert(mode)
    result = squared(encoded(grey))
    expected = squared(encoded(grey.convert("RGB")))
    assert result.mode == "RGB"
    assert np.abs(np.asarray(result, int) - np.asarray(expected, int)).max() <= 1


def test_16_bit_grey_keeps_its_range() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    result = np.asarray(squared(encoded(Image.fromarray(ramp))))
    assert result[0, 0, 0] < 8 and result[0, -1, 0] > 247 and abs(int(result[0, 16, 0]) - 131) < 6


def test_cmyk_jpeg_becomes_rgb() -> None:
    result = np.asarray(squared(encoded(Image.new("RGB", (64, 64), (200, 40, 40)).convert("CMYK"), "JPEG")))
    assert np.abs(result.reshape(-1, 3).mean(0) - (200, 40, 40)).max() < 12


def test_transparency_is_laid_on_white() -> None:
    glass = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    palette = Image.new("P", (64, 64), 0)
    assert (np.asarray(squared(encoded(glass))) == 255).all()
    assert (np.asarray(squared(encoded(palette, transparency=0))) == 255).all()


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (64, 64), "black")
    image.paste("white", (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    result = np.asarray(squared(encoded(image, "JPEG", exif=exif)))
    assert result[:, -4:].mean() > 240 and result[:, :4].mean() < 15


def test_a_phones_multi_picture_jpeg_gives_its_first_picture() -> None:
    content = encoded(Image.new("RGB", (64, 64), "red"), "MPO", save_all=True, append_images=[picture(1)])
    assert np.abs(np.asarray(squared(content), int).reshape(-1, 3).mean(0) - (254, 0, 0)).max() < 4


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused_and_stills_are_not(kind: str) -> None:
    assert reason_for(encoded(picture(1), kind, save_all=True, append_images=[picture(2)])) == Reason.ANIMATED
    assert squared(encoded(picture(1), kind)).size == (32, 32)


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "TGA", "ICO"])
def test_other_formats_are_refused_whatever_they_are_called(kind: str) -> None:
    assert reason_for(encoded(picture(1), kind)) == Reason.NOT_AN_IMAGE


def test_what_is_not_an_image_is_refused() -> None:
    assert reason_for(b"") == Reason.NOT_AN_IMAGE
    assert reason_for(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_truncated_files_are_refused(kind: str) -> None:
    content = encoded(picture(1), kind)
    assert reason_for(content[: len(content) * 2 // 3]) == Reason.CORRUPT


def test_small_images_are_refused() -> None:
    assert reason_for(encoded(picture(1, (200, 31))), 64) == Reason.TOO_SMALL
    assert squared(encoded(picture(1, (200, 32))), 64).size == (64, 64)


@pytest.mark.parametrize("side", [9_400, 13_300, 100_000])
def test_bombs_are_refused_from_their_header(side: int) -> None:
    """88 and 177 megapixels pass Pillow's own guard with at most a warning; 10 gigapixels do not."""
    rows = zlib.compress(bytes(side * (-(-side // 8) + 1))) if side < 20_000 else b""
    content = png_header(side, side, rows)
    assert len(content) < 40_000
    started = time.process_time()
    assert reason_for(content) == Reason.TOO_MANY_PIXELS
    assert time.process_time() - started < 0.1


def test_nothing_is_decoded_before_the_cap() -> None:
    """The file has no pixels at all: a decoder that ran would call it corrupt."""
    assert reason_for(png_header(9_000, 9_000)) == Reason.TOO_MANY_PIXELS
    assert reason_for(png_header(90, 90)) == Reason.CORRUPT


def test_files_of_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    assert reason_for(encoded(picture(1))) == Reason.TOO_MANY_BYTES


def mutated(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    kind = chance.randrange(3)
    if kind == 0:
        return bytes(changed[: chance.randrange(len(changed))])
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(min(80, len(changed)) if kind == 1 else len(changed))
        changed[place] = chance.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_mutated_files_give_an_image_or_a_reason(kind: str) -> None:
    """Found this way: the list DECODER_ERRORS. A longer run of the same (84,000 files) had no failure."""
    chance = random.Random(kind)
    whole = [encoded(picture(n).convert(mode), kind) for n, mode in enumerate(("RGB", "L"))]
    for _ in range(400):
        content = mutated(chance.choice(whole), chance)
        started = time.process_time()
        try:
            assert squared(content).size == (32, 32)
        except Rejected as error:
            assert error.reason in Reason
        assert time.process_time() - started < 5


def test_stored_images_come_back() -> None:
    image = picture(1, (64, 64))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(images.encode_png(image)))), np.asarray(image))
    jpeg = np.asarray(Image.open(io.BytesIO(images.encode_jpeg(image))), int)
    assert np.abs(jpeg - np.asarray(image, int)).mean() < 2


def test_the_perceptual_hash_survives_compression_and_tells_pictures_apart() -> None:
    def bits(a: Image.Image, b: Image.Image) -> int:
        return (int(images.perceptual_hash(a), 16) ^ int(images.perceptual_hash(b), 16)).bit_count()

    image = picture(1, (128, 128))
    again = Image.open(io.BytesIO(encoded(image.resize((90, 90)), "JPEG", quality=40)))
    assert bits(image, again) <= 3
    assert bits(image, picture(2, (128, 128))) > 10


@pytest.mark.parametrize(("kind", "mode", "side"), [("WEBP", "RGB", 3600), ("PNG", "LA", 4200), ("PNG", "RGBA", 5100)])
def test_what_decoding_takes_is_capped_beside_the_pixels(kind: str, mode: str, side: int) -> None:
    """`python -m jobs.chaos mutants` measures that no image takes more than 200 MiB."""
    assert side**2 < MAX_PIXELS
    assert reason_for(header_of(kind, mode, side)) == Reason.TOO_MANY_PIXELS


def header_of(kind: str, mode: str, side: int) -> bytes:
    """A small file with this header."""
    if kind == "PNG":
        return png_header(side, side, depth=8, colour={"LA": 4, "RGBA": 6}[mode])
    return encoded(Image.new(mode, (side, side)), kind)


def test_16_bit_grey_of_many_rows_is_scaled_in_bands() -> None:
    ramp = np.tile(np.linspace(0, 65535, 3 * images.BAND_ROWS + 7).astype(np.uint16)[:, None], (1, 8))
    scaled = np.asarray(images.scaled_grey(Image.fromarray(ramp)), int)
    assert np.abs(scaled - ramp / 257).max() <= 0.51


def rejection(content: bytes, max_pixels: int = MAX_PIXELS, size_px: int = 32) -> str:
    with pytest.raises(Rejected) as caught:
        square(content, size_px, max_pixels)
    assert str(caught.value) == f"{caught.value.reason}: {caught.value.detail}"
    return str(caught.value)


def test_limits_hold_to_the_last_pixel_and_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(picture(1, (90, 70)))
    assert square(content, 32, 90 * 70)[1] == (90, 70)
    assert rejection(content, 6299) == "too_many_pixels: 90 x 70, at most 6299 pixels of PNG RGB"
    monkeypatch.setattr(images, "MEMORY_BYTES", 90 * 70 * 5)
    assert square(content, 32, MAX_PIXELS)[1] == (90, 70)
    monkeypatch.setattr(images, "MEMORY_BYTES", 90 * 70 * 5 - 1)
    assert "at most 6299 pixels" in rejection(content)
    monkeypatch.undo()
    monkeypatch.setattr(images, "MAX_BYTES", len(content))
    assert square(content, 32, MAX_PIXELS)[1] == (90, 70)
    assert rejection(content + b" ") == f"too_many_bytes: {len(content) + 1} bytes, at most {len(content)}"


def test_reasons_say_what_was_found() -> None:
    assert rejection(b"") == "not_an_image: not one of JPEG, PNG, WEBP, BMP, GIF"
    assert rejection(encoded(picture(1, (40, 16))), size_px=33) == "too_small: 40 x 16, wanted 17 or more"
    assert rejection(encoded(picture(1), "GIF", save_all=True, append_images=[picture(2)])) == (
        "animated: more than one frame"
    )
    with pytest.raises(Rejected, match=r"^corrupt: ValueError: x{188}$"):
        images.reject_broken(ValueError("x" * 300))


@pytest.mark.parametrize(
    ("kind", "mode", "options", "expected"),
    [
        ("JPEG", "RGB", {}, 4),
        ("JPEG", "RGB", {"progressive": True}, 6),
        ("JPEG", "L", {"progressive": True}, 2),
        ("MPO", "RGB", {"save_all": True, "append_images": [picture(2)]}, 4),
        ("WEBP", "RGB", {}, 18),
        ("PNG", "RGBA", {}, 10),
        ("PNG", "LA", {}, 13),
        ("PNG", "P", {"transparency": 0}, 13),
        ("PNG", "RGB", {}, 5),
        ("BMP", "RGB", {}, 5),
    ],
)
def test_what_a_pixel_takes_depends_on_the_decoder(
    kind: str, mode: str, options: dict[str, object], expected: int
) -> None:
    content = encoded(picture(1).convert("L").convert(mode), kind, **options)
    assert images.bytes_per_pixel(images.open_header(content, MAX_PIXELS)) == expected


def test_a_strangers_metadata_neither_warns_nor_hinders() -> None:
    content = encoded(picture(1), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff broken")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert squared(content).size == (32, 32)


def test_channels_are_kept_where_they_can_be() -> None:
    modes = {
        "1": "L",
        "L": "L",
        "P": "RGB",
        "LA": "RGBA",
        "RGB": "RGB",
        "RGBA": "RGBA",
        "CMYK": "RGB",
        "I": "L",
        "F": "L",
    }
    grey = picture(1).convert("L")
    assert {mode: images.to_8_bits(grey.convert(mode)).mode for mode in modes} == modes


def test_grey_beyond_its_range_is_clipped_and_rounded() -> None:
    numbers = np.array([[-5, 0, 128, 129, 65535, 70000]], dtype=np.int32)
    assert np.asarray(images.scaled_grey(Image.fromarray(numbers))).tolist() == [[0, 0, 0, 1, 255, 255]]


def test_half_transparent_colours_are_mixed_with_white() -> None:
    glass = images.over_white(Image.new("RGBA", (1, 1), (255, 0, 0, 128)))
    assert glass.mode == "RGB" and glass.getpixel((0, 0)) == (255, 127, 127)


def test_stored_jpegs_keep_every_pixels_colour() -> None:
    stored = Image.open(io.BytesIO(images.encode_jpeg(picture(1))))
    same = Image.open(io.BytesIO(encoded(picture(1), "JPEG", quality=95)))
    assert JpegImagePlugin.get_sampling(stored) == 0 and stored.quantization == same.quantization
    assert Image.open(io.BytesIO(images.encode_png(picture(1)))).format == "PNG"
    assert len(images.perceptual_hash(picture(1))) == 16

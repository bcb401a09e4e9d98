"""A contact sheet: the first look at a data set, images with their captions, as one PNG."""

from __future__ import annotations

import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from naruto_add.data.shards import Sample, Shards

COLUMNS = 6
CELL_PX = 192
TEXT_PX = 12
LINES = 4
MARGIN_PX = 8
PAPER = (250, 248, 244)
INK = (40, 36, 32)


def contact_sheet(shards: Shards, path: Path, split: str = "train", count: int = 24) -> Path:
    """Draw `count` samples, spread evenly over the split, each above its caption; returns `path` (a PNG)."""
    count = min(count, shards.count(split))
    samples = [shards.sample(split, place * shards.count(split) // count) for place in range(count)]
    height = CELL_PX + (LINES + 1) * TEXT_PX
    rows = -(-count // COLUMNS)
    size = (COLUMNS * (CELL_PX + MARGIN_PX) + MARGIN_PX, rows * (height + MARGIN_PX) + MARGIN_PX)
    sheet = Image.new("RGB", size, PAPER)
    for place, sample in enumerate(samples):
        row, column = divmod(place, COLUMNS)
        corner = (MARGIN_PX + column * (CELL_PX + MARGIN_PX), MARGIN_PX + row * (height + MARGIN_PX))
        paste(sheet, corner, sample)
    sheet.save(path, "PNG")
    return path


def paste(sheet: Image.Image, corner: tuple[int, int], sample: Sample) -> None:
    """Draw one sample with its id and caption at a corner of the sheet."""
    left, top = corner
    sheet.paste(sample.image.resize((CELL_PX, CELL_PX), Image.Resampling.BICUBIC), corner)
    font = ImageFont.load_default(TEXT_PX)
    text = textwrap.wrap(f"{sample.id}: {sample.caption}", CELL_PX * 2 // TEXT_PX, max_lines=LINES, placeholder=" ...")
    ImageDraw.Draw(sheet).multiline_text((left, top + CELL_PX + 2), "\n".join(text), INK, font, spacing=2)

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from naruto_add.data import images
from naruto_add.data.contact import CELL_PX, MARGIN_PX, contact_sheet
from naruto_add.data.shards import Entry, Shards, write_index, write_split
from tests.unit.data.pictures import picture


def test_images_and_captions_are_on_the_sheet(tmp_path: Path) -> None:
    words = ["a ninja", "un ninja dans la forêt " * 20]
    entries = [
        Entry(images.encode_png(picture(n, (64, 64))), "png", {"caption": words[n % 2], "attributes": None})
        for n in range(8)
    ]
    train = write_split(tmp_path, "train", entries, 8)
    write_index(tmp_path, 64, {"train": train, "heldout": []})
    path = contact_sheet(Shards(tmp_path), tmp_path / "sheet.png", count=24)
    sheet = np.asarray(Image.open(path).convert("RGB"), int)
    left = MARGIN_PX + CELL_PX + MARGIN_PX
    cell = sheet[MARGIN_PX : MARGIN_PX + CELL_PX, left : left + CELL_PX]
    expected = np.asarray(picture(1, (64, 64)).resize((CELL_PX, CELL_PX), Image.Resampling.BICUBIC), int)
    assert np.abs(cell - expected).max() <= 1
    under = sheet[MARGIN_PX + CELL_PX : MARGIN_PX + CELL_PX + 16, MARGIN_PX : MARGIN_PX + CELL_PX]
    assert (under.sum(2) < 300).sum() > 50  # ink

"""`python -m jobs.measuring.probe FOLDER FEW MANY`: peak memory in KB after preparing few and then many images.

A process of its own, because a peak never falls; the images are noise, so that none repeats another.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from naruto_add import recipe as recipes
from naruto_add.config import DataConfig
from naruto_add.data.images import encode_jpeg
from naruto_add.data.prepare import prepare

SIDE_PX = 64
CAPTION = "a ninja with orange clothes and a headband, running through a forest at night, drawing number "


def main(folder: Path, counts: list[int]) -> None:
    """Prepare and print."""
    peaks = []
    with tempfile.TemporaryDirectory(dir=folder) as work:
        for count in counts:
            source, out = Path(work) / f"source-{count}", Path(work) / f"out-{count}"
            fill(source, count)
            out.mkdir()
            prepare(config_of(source), 0, out)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    sys.stdout.write(json.dumps(peaks))


def config_of(source: Path) -> DataConfig:
    """The recipe's data section for this folder."""
    return replace(recipes.load("mini").data, source=str(source), num_images=None, num_heldout=2, size_px=SIDE_PX)


def fill(folder: Path, count: int) -> None:
    """Images of noise with captions."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(chance.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        (folder / f"{number}.jpg").write_bytes(encode_jpeg(coarse.resize((SIDE_PX, SIDE_PX))))
        (folder / f"{number}.txt").write_text(f"{CAPTION}{number}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])

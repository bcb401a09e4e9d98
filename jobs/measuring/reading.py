"""Preparing images: our untrusted decode, hash and encode beside what one would write first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

from jobs.measuring.alternate import Pair
from jobs.measuring.pool import resized
from jobs.measuring.setting import Setting, seconds_of
from naruto_add.data import universe
from naruto_add.data.images import encode_jpeg
from naruto_add.data.ingest import Shape
from naruto_add.data.prepare import process
from naruto_add.data.trees import open_folder

SOURCE_PX = 512
TURNS = tuple(Image.Transpose)
"""Seven ways to turn and mirror a picture; drawing one takes longer than reading it."""
QUICK_IMAGES, IMAGES = 4, 32
FEW_IMAGES, GROWN_IMAGES = 500, 2500
"""Before and after, where one image's share of the memory is measured."""


def prepare(setting: Setting) -> Pair:
    """Images a second from JPEG files of 512 px on disk, in one process."""
    count = QUICK_IMAGES if setting.quick else IMAGES
    folder, data = drawings(setting, count), setting.recipe.data
    source, shape = open_folder(str(folder)), Shape(data.size_px, int(data.max_megapixels * 1e6))
    items = source.listing().items

    def ours() -> None:
        for item in items:
            assert not process(source, shape, None, item).reason

    def peer() -> None:
        for item in items:
            resized(folder / item.place, data.size_px)

    return Pair(lambda: count / seconds_of(ours), lambda: count / seconds_of(peer))


def drawings(setting: Setting, count: int) -> Path:
    """A folder of drawings of the built-in universe with their captions, of 512 px; each is there in all its turns."""
    folder = setting.folder / f"images-{count}"
    folder.mkdir()
    for number in range(-(-count // len(TURNS))):
        image, caption, _, _ = universe.draw("ninja", 0, number, SOURCE_PX)
        for turn in TURNS[: count - number * len(TURNS)]:
            name = f"{number:03d}-{turn.name}"
            (folder / f"{name}.jpg").write_bytes(encode_jpeg(image.transpose(turn)))
            (folder / f"{name}.txt").write_text(caption, encoding="utf-8")
    return folder


def memory(setting: Setting) -> Pair:
    """KB by which the peak memory of preparing rises with each image: captions, hashes and places, never pixels."""
    counts = [2 * QUICK_IMAGES, 4 * QUICK_IMAGES] if setting.quick else [FEW_IMAGES, GROWN_IMAGES]

    def ours() -> float:
        words = [sys.executable, "-m", "jobs.measuring.probe", str(setting.folder), *map(str, counts)]
        told = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
        few, grown = json.loads(told)
        return (grown - few) / (counts[1] - counts[0])

    return Pair(ours, warm=False)

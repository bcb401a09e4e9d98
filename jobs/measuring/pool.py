"""The peer of our preparation: a pool of processes, Pillow and a tar. Imports little, for each process imports it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path

from PIL import Image, ImageOps

CHUNK = 8


def fill(pool: Pool, paths: Sequence[Path], size_px: int) -> Iterable[tuple[bytes, bytes]]:
    """Each image as JPEG and its caption, in order."""
    return pool.imap(partial(packed, size_px=size_px), paths, CHUNK)


def packed(path: Path, size_px: int) -> tuple[bytes, bytes]:
    """The image as JPEG and its caption."""
    buffer = io.BytesIO()
    resized(path, size_px).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue(), path.with_suffix(".txt").read_bytes()


def resized(path: Path, size_px: int) -> Image.Image:
    """The picture as anybody would read it."""
    with Image.open(path) as image:
        return ImageOps.fit(image.convert("RGB"), (size_px, size_px), Image.Resampling.LANCZOS)


def write_tar(path: Path, samples: Iterable[tuple[bytes, bytes]]) -> None:
    """One tar of KEY.jpg and KEY.txt."""
    with tarfile.open(path, "w") as tar:
        for number, (image, caption) in enumerate(samples):
            for suffix, content in (("jpg", image), ("txt", caption)):
                header = tarfile.TarInfo(f"{number:08d}.{suffix}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))

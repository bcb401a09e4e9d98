"""The pictures that the `mini` base learns from, drawn by processes that need no torch and so start at once."""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from naruto_add.data.universe import draw

WORLD = "base"
CHUNK = 256


def draw_images(folder: Path, count: int, seed: int, processes: int) -> Path:
    """Draw `count` scenes into images.npy (N, 3, 128, 128) uint8; goes on where it was stopped."""
    path, progress = folder / "images.npy", folder / "drawn"
    mode = "r+" if path.exists() else "w+"
    images = open_memmap(path, mode=mode, dtype=np.uint8, shape=(count, 3, 128, 128))
    done = int(progress.read_text()) if progress.exists() else 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        starts = range(done, count, CHUNK)
        for start, chunk in zip(starts, pool.imap(partial(draw_chunk, seed, count), starts), strict=True):
            images[start : start + len(chunk)] = chunk
            images.flush()
            progress.write_text(str(start + len(chunk)))
    return path


def draw_chunk(seed: int, count: int, start: int) -> np.ndarray:
    """Scenes [start, start + CHUNK) as uint8 (n, 3, 128, 128)."""
    pictures = [np.asarray(draw(WORLD, seed, i)[0]) for i in range(start, min(start + CHUNK, count))]
    return np.stack(pictures).transpose(0, 3, 1, 2)

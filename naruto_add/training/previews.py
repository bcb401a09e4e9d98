"""Preview grids: the golden prompts, drawn with fixed noise from image 0 on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from naruto_add.training.method import Method


def draw(method: Method, prompts: Sequence[str], folder: Path, images: int) -> Path | None:
    """Write `previews/images-000000001280.png`, one column per prompt; what is there already is kept."""
    path = place(folder, images)
    if not prompts or path.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        grid(method.preview(prompts), columns=len(prompts)).save(path)
    return path


def forget_after(folder: Path, images: int) -> None:
    """Remove the grids of later images: a run that has gone back to `images` will draw them again."""
    for path in (folder / "previews").glob("images-*.png"):
        if path.name > place(folder, images).name:
            path.unlink()


def place(folder: Path, images: int) -> Path:
    """Where the grid of so many images lies; names sort as the numbers do."""
    return folder / "previews" / f"images-{images:012d}.png"


def grid(pixels: Tensor, columns: int) -> Image.Image:
    """The pictures (N,3,H,W) in [-1, 1], clamped, row by row; `columns` must divide N."""
    assert len(pixels) % columns == 0, f"{len(pixels)} pictures in {columns} columns"
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to("cpu", torch.uint8)
    rows = levels.unflatten(0, (-1, columns))  # (rows, columns, 3, H, W)
    height, width = rows.shape[0] * rows.shape[3], columns * rows.shape[4]
    return Image.fromarray(rows.permute(0, 3, 1, 4, 2).reshape(height, width, 3).numpy())

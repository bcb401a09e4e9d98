"""Differentiable augmentation (Zhao et al. 2020) of real and generated images alike, so that the heads cannot learn the
training images by heart: colour, translation, cutout. Its randomness is addressed by image, like all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from naruto_add import rng

BRIGHTNESS = 0.5  # full range of the shift, where pixels span 2
MAX_SHIFT = 1 / 8  # of the side
CUTOUT = 1 / 4  # side of the grey square, of the image's side
DRAWS = 7


def augment(pixels: Tensor, seed: int, stream: str, positions: Sequence[int]) -> Tensor:
    """Augmented pixels (B,3,H,W), about [-1, 1]: one draw for each position, so equal positions are treated alike."""
    draws = torch.stack([torch.rand(DRAWS, generator=rng.generator(seed, stream, p)) for p in positions])
    brightness, saturation, contrast, *_, left, top = draws.to(pixels).unbind(1)
    across, down = draws[:, 3], draws[:, 4]  # read here: from a GPU each of them would have to be waited for
    return cutout(translate(colour(pixels, brightness, saturation, contrast), across, down), left, top)


def colour(pixels: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Shift the brightness, scale saturation (0.5 to 1.5) and contrast (0.75 to 1.25) by draws (B,) in [0, 1)."""
    by, sat, con = (draw.view(-1, 1, 1, 1) for draw in (brightness, saturation, contrast))
    pixels = pixels + BRIGHTNESS * (by - 0.5)
    grey = pixels.mean(1, keepdim=True)
    pixels = grey + (pixels - grey) * (sat + 0.5)
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return mean + (pixels - mean) * (con / 2 + 0.75)


def translate(pixels: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Shift by up to an eighth of the side either way, draws (B,) in [0, 1); what comes in is mid-grey."""
    side = pixels.shape[-1]
    most = int(side * MAX_SHIFT)
    padded = F.pad(pixels, (most, most, most, most))
    starts = [(int(y), int(x)) for y, x in zip(down * (2 * most + 1), across * (2 * most + 1), strict=True)]
    return torch.stack([image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, starts, strict=True)])


def cutout(pixels: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Grey out one square whose middle is drawn uniformly, draws (B,) in [0, 1)."""
    side = pixels.shape[-1]
    half = side * CUTOUT / 2
    line = torch.arange(side, device=pixels.device) + 0.5
    columns = (line - across[:, None] * side).abs() < half
    rows = (line - down[:, None] * side).abs() < half
    hidden = rows[:, None, :, None] & columns[:, None, None, :]
    return pixels.masked_fill(hidden, 0.0)

"""How long one picture takes: caption to text, UNet passes, decoding; batch 1, warmed up, median of repeats."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch

from naruto_add.evaluation.painters import Painter


@dataclass(frozen=True)
class Split:
    """Seconds for one picture, phase by phase."""

    text_s: float
    unet_s: float
    decode_s: float

    @property
    def total_s(self) -> float:
        """All three phases."""
        return self.text_s + self.unet_s + self.decode_s


def latency(painter: Painter, steps: int, caption: str, repeats: int) -> Split:
    """Each phase's median over `repeats` pictures; the caption is encoded anew each time, as for a new request."""
    once(painter, 1, caption)
    times = [once(painter, steps, caption) for _ in range(repeats)]
    return Split(
        text_s=median(split.text_s for split in times),
        unet_s=median(split.unet_s for split in times),
        decode_s=median(split.decode_s for split in times),
    )


def once(painter: Painter, steps: int, caption: str) -> Split:
    """Draw one picture and time its phases."""
    x_T, noises = painter.noise(0, [0], steps)
    device = painter.easel.device
    with painter.easel.context():
        times = [clock(device)]
        text = painter.embed([caption])
        times.append(clock(device))
        latents = painter.denoise(text, x_T, noises, steps)
        times.append(clock(device))
        painter.decode(latents)
        times.append(clock(device))
    return Split(*(after - before for before, after in pairwise(times)))


def clock(device: torch.device) -> float:
    """Seconds on a steady clock, once the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

"""One training batch, and what a feed of batches is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Batch:
    """Encoded images and captions; the row at place i belongs to `positions[i]` and `ids[i]`."""

    positions: list[int]
    """Global running numbers of the images: the addresses of their noise."""
    ids: list[int]
    """Numbers of the samples in their split."""
    latents: torch.Tensor
    """(B, C, h, w), already multiplied by the autoencoder's scaling factor."""
    text: torch.Tensor
    """(B, L, D): the text encoder's last hidden state."""
    pooled: torch.Tensor
    """(B, P): the caption's pooled embedding."""
    pixels: torch.Tensor | None = None
    """(B, 3, H, W) in [-1, 1], for methods that ask for them."""

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, parts: int) -> list[Batch]:
        """Micro-batches of equal size, in order; `parts` must divide the batch."""
        assert len(self) % parts == 0, f"{parts} micro-batches of {len(self)} images"
        size = len(self) // parts
        return [self.rows(slice(start, start + size)) for start in range(0, len(self), size)]

    def rows(self, part: slice) -> Batch:
        """The batch of these rows."""
        pixels = None if self.pixels is None else self.pixels[part]
        return Batch(
            self.positions[part], self.ids[part], self.latents[part], self.text[part], self.pooled[part], pixels
        )

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Batch:
        """The same batch on another device, all its tensors of this floating type."""
        pixels = None if self.pixels is None else self.pixels.to(device, dtype)
        latents, text, pooled = (tensor.to(device, dtype) for tensor in (self.latents, self.text, self.pooled))
        return Batch(self.positions, self.ids, latents, text, pooled, pixels)


class Feed(Protocol):
    """Where training batches come from: in this process (`data.feed`) or through Ray Data (`on_ray.feed`)."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """A rank's share of every global batch, from the global position `start` on until `stop` is covered."""
        ...

"""The sets of pictures that a score is read against, beside those of the models.

- floor/real: training images against held-out ones. No model can be expected to do better, at this number of pictures.
- floor/autoencoder: held-out images encoded and decoded again. A latent model cannot be sharper than that.
- floor/teacher: the teacher from other noise. Two draws of one and the same model differ by that much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from naruto_add.artifact import canonical, sha256_text
from naruto_add.data.latents import write as write_tensors
from naruto_add.data.shards import Shards
from naruto_add.evaluation.generate import Gallery
from naruto_add.evaluation.judge import AttributeJudge, asked_for
from naruto_add.evaluation.observe import Observer, Source
from naruto_add.evaluation.painters import Painter, to_pixels, to_uint8
from naruto_add.models.load import encode_images

Wishes = Sequence[Mapping[str, str]] | None
"""For each picture, the attributes that its caption asks for; None where they are not known."""


def wishes(shards: Shards, split: str, numbers: Sequence[int], judge: AttributeJudge | None) -> Wishes:
    """What the captions of these images ask for, or None without a judge or without known attributes."""
    attributes = shards.attributes(split, numbers)
    if judge is None or any(row is None for row in attributes):
        return None
    known: list[dict[str, Any]] = [row for row in attributes if row is not None]
    return [asked_for(row, judge.fields) for row in known]


def real(shards: Shards, split: str, count: int, judge: AttributeJudge | None) -> Source:
    """The first `count` real images of a split."""
    rows = range(min(count, shards.count(split)))
    return Source(len(rows), lambda some: shards.images(split, some), wishes(shards, split, rows, judge))


def real_features(shards: Shards, split: str, count: int, observer: Observer, folder: Path) -> Tensor:
    """Features (M, F) of the first `count` real images of a split, looked at once and kept in `folder`."""
    source = real(shards, split, count, None)
    made_of = [observer.eyes.extractor.sha256, shards.shards(split), source.count]
    path = folder / f"{split}-{sha256_text(canonical(made_of))[:16]}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {"features": observer.features(source)})
    return load_file(path)["features"]


def autoencoded(shards: Shards, count: int, painter: Painter, judge: AttributeJudge | None) -> Source:
    """The first `count` held-out images, through the autoencoder and back."""
    source = real(shards, "heldout", count, judge)
    return Source(source.count, lambda rows: through(painter, source.images(rows)), source.asked)


def through(painter: Painter, images: Tensor) -> Tensor:
    """8-bit pictures, encoded and decoded."""
    pixels = to_pixels(images, painter.easel.device)
    return to_uint8(painter.decode(encode_images(painter.components.vae, pixels)))


def drawn(gallery: Gallery, numbers: Sequence[int], asked: Wishes) -> Source:
    """Generated pictures, compared row by row with the teacher's."""

    def images(rows: Sequence[int]) -> Tensor:
        return gallery.images([numbers[row] for row in rows])

    return Source(len(numbers), images, asked, beside_teacher=True)

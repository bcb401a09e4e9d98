"""Shards: WebDataset tars whose bytes depend on their samples alone, and a reader with random access.

A shards folder holds `train-00000.tar`, `heldout-00000.tar`, ..., `index.json` and `quarantine.csv`. A sample is
KEY.png or KEY.jpg and KEY.json; its id is its place in the split.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from naruto_add.artifact import MANIFEST, canonical, read_manifest, sha256_text, write_json
from naruto_add.errors import UserError

if TYPE_CHECKING:
    import torch

INDEX = "index.json"
SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Sample:
    """One captioned image, read from a shard."""

    id: int
    image: Image.Image
    caption: str
    attributes: dict[str, Any] | None
    """What is drawn and what the caption mentions; None for a user's images."""


@dataclass(frozen=True)
class Entry:
    """One captioned image, to be written to a shard: its encoded bytes, their kind and its description."""

    image: bytes
    extension: str
    meta: dict[str, Any]


@dataclass(frozen=True)
class Member:
    """Where a sample lies in its tar: offset and size in bytes of image and description."""

    image: tuple[int, int]
    meta: tuple[int, int]


def write_split(folder: Path, split: str, entries: Iterable[Entry], shard_images: int) -> list[dict[str, Any]]:
    """Write the entries, in order, to tars of `shard_images`; returns the split's rows of the index."""
    rows: list[dict[str, Any]] = []
    source, first = iter(entries), 0
    while chunk := list(islice(source, shard_images)):
        path = folder / f"{split}-{len(rows):05d}.tar"
        sha256 = write_tar(path, first, chunk)
        rows.append({"shard": path.name, "sha256": sha256, "count": len(chunk)})
        first += len(chunk)
    return rows


def write_index(folder: Path, size_px: int, splits: dict[str, list[dict[str, Any]]]) -> None:
    """Write `index.json`, the last file of a shards folder."""
    samples = {split: sum(row["count"] for row in rows) for split, rows in splits.items()}
    write_json(folder / INDEX, {"size_px": size_px, "splits": splits, "samples": samples})


def write_tar(path: Path, first: int, entries: Sequence[Entry]) -> str:
    """Write one tar whose headers hold no time, owner or mode of this machine; returns its sha256."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, entry in enumerate(entries, first):
            add(tar, f"{number:08d}.{entry.extension}", entry.image)
            add(tar, f"{number:08d}.json", canonical(entry.meta).encode())
    path.write_bytes(buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Append one file with a neutral header (time 0, owner 0, mode 0644)."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))


@lru_cache(maxsize=4096)
def members(path: Path, sha256: str) -> tuple[Member, ...]:
    """The places of a shard's samples; hashes it first, once per process; raises UserError if it has changed."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise UserError(f"{path}: content changed since it was made (sha256). Prepare the data again.")
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            places = [(info.offset_data, info.size) for info in tar]
    return tuple(Member(image, meta) for image, meta in zip(places[::2], places[1::2], strict=True))


class Shards:
    """A shards folder, opened for reading; small, and can be sent to other processes.

    Raises UserError if `path` is not a shards folder, and, at first use of a shard, if its bytes have changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._splits: dict[str, list[dict[str, Any]]]
        self.size_px, self._splits = read_index(path)
        self._ends = {split: list(accumulate(row["count"] for row in rows)) for split, rows in self._splits.items()}

    def count(self, split: str) -> int:
        """Samples in the split."""
        return self._ends[split][-1] if self._ends[split] else 0

    def shards(self, split: str) -> list[dict[str, Any]]:
        """The split's rows of the index: shard (file name), sha256, count."""
        return self._splits[split]

    def sample(self, split: str, number: int) -> Sample:
        """The sample with this id (0 .. count - 1)."""
        path, member = self._find(split, number)
        meta = read_meta(path, member)
        return Sample(number, decode(read_part(path, member.image)), meta["caption"], meta["attributes"])

    def images(self, split: str, ids: Sequence[int]) -> torch.Tensor:
        """The images with these ids, uint8, shape (N, 3, size_px, size_px)."""
        import torch

        return torch.from_numpy(self.arrays(split, ids))

    def arrays(self, split: str, ids: Sequence[int]) -> np.ndarray:
        """The same as `images` without torch: uint8, shape (N, 3, size_px, size_px)."""
        found = [self._find(split, number) for number in ids]
        images = [np.asarray(decode(read_part(path, member.image))) for path, member in found]
        return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))

    def captions(self, split: str, ids: Sequence[int] | None = None) -> list[str]:
        """The captions with these ids (None: all)."""
        return [meta["caption"] for meta in self.metas(split, ids)]

    def attributes(self, split: str, ids: Sequence[int] | None = None) -> list[dict[str, Any] | None]:
        """The known attributes with these ids (None: all); None for a user's images."""
        return [meta["attributes"] for meta in self.metas(split, ids)]

    def metas(self, split: str, ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """The whole descriptions with these ids (None: all)."""
        numbers = range(self.count(split)) if ids is None else ids
        return [read_meta(*self._find(split, number)) for number in numbers]

    def _find(self, split: str, number: int) -> tuple[Path, Member]:
        assert 0 <= number < self.count(split), f"no sample {number} in {split}"
        place = bisect_right(self._ends[split], number)
        row = self._splits[split][place]
        path = self.path / row["shard"]
        return path, members(path, row["sha256"])[number - self._ends[split][place] + row["count"]]


def read_index(path: Path) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """The image side in pixels and the rows of every split; raises UserError if it is not a shards folder."""
    try:
        text = (path / INDEX).read_text(encoding="utf-8")
        if (path / MANIFEST).is_file() and read_manifest(path).files[INDEX][1] != sha256_text(text):
            raise ValueError("content changed since it was made")
        index = json.loads(text)
        return index["size_px"], {split: index["splits"][split] for split in SPLITS}
    except FileNotFoundError as error:
        raise UserError(f"{path} is not a folder of shards ({INDEX} is missing). Run prepare first.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / INDEX} is damaged ({error}). Prepare the data again.") from error


def read_part(path: Path, part: tuple[int, int]) -> bytes:
    """The bytes at (offset, size) of a file."""
    offset, size = part
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def read_meta(path: Path, member: Member) -> dict[str, Any]:
    """The description of one sample."""
    return json.loads(read_part(path, member.meta))


def decode(content: bytes) -> Image.Image:
    """An image of ours (RGB, PNG or JPEG), its shard's hash already checked."""
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        return image.convert("RGB")

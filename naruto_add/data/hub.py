"""Hugging Face datasets: a saved one on disk, or one of the hub at a pinned commit. No code of a dataset is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from naruto_add.data.images import Reason, Rejected
from naruto_add.data.ingest import Item, Listing, Source
from naruto_add.data.tables import IMAGE_COLUMNS
from naruto_add.data.trees import CAPTION_COLUMNS
from naruto_add.errors import UserError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
SAVED = ("dataset_info.json", "dataset_dict.json")
TRAIN = "train"


@dataclass(frozen=True)
class HubDataset(Source):
    """The training split of a dataset: a folder (no revision), or an id and its commit."""

    name: str
    revision: str | None

    def listing(self) -> Listing:
        """All rows; downloads a hub dataset into the hub's cache first."""
        table = open_dataset(self.name, self.revision)
        if column(table.column_names, IMAGE_COLUMNS) is None:
            named = f"one of {', '.join(IMAGE_COLUMNS)}"
            return Listing([], [f"{self.name} has no image column ({named}); it has {', '.join(table.column_names)}."])
        items = [Item(f"{self.name}#{row}", self.name, row) for row in range(len(table))]
        return Listing(items, captioned=column(table.column_names, CAPTION_COLUMNS) is not None)

    def read(self, item: Item) -> tuple[bytes, str]:
        """The image bytes, as stored, and the caption of one row."""
        row = open_dataset(self.name, self.revision)[item.row]
        caption = row.get(column(list(row), CAPTION_COLUMNS) or "")
        return cell_bytes(row[column(list(row), IMAGE_COLUMNS) or ""]), caption if isinstance(caption, str) else ""


def is_saved(name: str) -> bool:
    """Whether the source is a folder written by `Dataset.save_to_disk`."""
    return any((Path(name).expanduser() / file).is_file() for file in SAVED)


def is_id(name: str) -> bool:
    """Whether the source is the id of a hub dataset: owner/name, and nothing on disk is called so."""
    return HUB_ID.fullmatch(name) is not None and name[0] not in ".~" and not Path(name).exists()


def open_saved(name: str) -> HubDataset:
    """A dataset on disk; raises UserError if the `datasets` library is missing."""
    library()
    return HubDataset(str(Path(name).expanduser().resolve()), None)


def open_id(name: str, revision: str | None) -> HubDataset:
    """A dataset of the hub; raises UserError without a pinned commit or the `datasets` library."""
    if revision is None or not COMMIT.fullmatch(revision):
        raise UserError(
            f"data.source {name}: no such folder here, and as a Hugging Face dataset it needs data.revision, the "
            "40-digit commit to pin it to (see the dataset's page under Files, History)."
        )
    library()
    return HubDataset(name, revision)


def library() -> Any:
    """The `datasets` library; raises UserError that names the extra if it is missing."""
    try:
        import datasets
    except ImportError as error:
        raise UserError("Hugging Face datasets need another library: pip install 'naruto-add[datasets]'.") from error
    return datasets


@lru_cache(maxsize=2)
def open_dataset(name: str, revision: str | None) -> Any:
    """The training split, its images left encoded; raises UserError if it cannot be had."""
    datasets = library()
    try:
        found = datasets.load_from_disk(name) if revision is None else datasets.load_dataset(name, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"data.source {name}: neither on disk nor to be had from the hub ({type(error).__name__}: {error}). "
            "Check the id, the commit, your access and the network, or give a folder."
        ) from error
    if isinstance(found, dict):
        found = found[TRAIN] if TRAIN in found else next(iter(found.values()))
    image = column(found.column_names, IMAGE_COLUMNS)
    return found if image is None else found.cast_column(image, datasets.Image(decode=False))


def column(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """The first wanted column that is there."""
    return next((name for name in wanted if name in names), None)


def cell_bytes(cell: dict[str, Any]) -> bytes:
    """The bytes of an undecoded image cell, from the cell or from the file it names; raises Rejected."""
    if cell and cell.get("bytes"):
        return cell["bytes"]
    try:
        return Path((cell or {})["path"]).read_bytes()
    except (OSError, KeyError, TypeError) as error:
        raise Rejected(Reason.UNREADABLE, "the image cell holds no bytes") from error

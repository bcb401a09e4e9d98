"""Parquet files with an image column (bytes, or a struct with `bytes`) and a caption column."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from naruto_add.data.images import Reason, Rejected
from naruto_add.data.ingest import Item, Listing, Source
from naruto_add.data.trees import CAPTION_COLUMNS, Folder, is_image
from naruto_add.errors import UserError

IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png", "bytes", "image_bytes")


@dataclass(frozen=True)
class Parquet(Source):
    """The rows of one or several Parquet files, in the order of the files' names."""

    root: Path
    files: tuple[Path, ...]

    def listing(self) -> Listing:
        """All rows, from the files' footers alone."""
        items: list[Item] = []
        problems: list[str] = []
        captioned = False
        for path in self.files:
            try:
                schema, rows = open_table(path).schema_arrow, open_table(path).metadata.num_rows
            except (pa.ArrowException, OSError) as error:
                problems.append(f"{path} is not a Parquet file ({error}). Fetch it again or remove it.")
                continue
            if image_column(schema) is None:
                problems.append(f"{path} has no image column; it has {', '.join(schema.names)}. {wanted()}")
            captioned = captioned or caption_column(schema) is not None
            name = path.relative_to(self.root).as_posix()
            items += [Item(f"{name}#{row}", str(path), row) for row in range(rows)]
        return Listing(items, problems, captioned)

    def read(self, item: Item) -> tuple[bytes, str]:
        """The image bytes and caption of one row."""
        row = row_at(Path(item.place), item.row)
        schema = open_table(Path(item.place)).schema_arrow
        caption = row.get(caption_column(schema) or "")
        return image_bytes(row[image_column(schema) or ""]), caption if isinstance(caption, str) else ""


def wanted() -> str:
    """What a table should have."""
    return f"Name the image column one of {', '.join(IMAGE_COLUMNS)}, the caption {', '.join(CAPTION_COLUMNS)}."


def is_parquet(name: str) -> bool:
    """Whether the source is a Parquet file, or a folder that holds some."""
    path = Path(name).expanduser()
    return path.suffix == ".parquet" or (path.is_dir() and next(path.rglob("*.parquet"), None) is not None)


def open_parquet(name: str) -> Parquet:
    """The Parquet file or files of this name; raises UserError if there is none, or if there are images beside."""
    path = Path(name).expanduser().resolve()
    if not path.exists():
        raise UserError(f"data.source {name}: no such file. Give a Parquet file or a folder of them.")
    if not path.is_dir():
        return Parquet(path.parent, (path,))
    image = next((found for found in Folder(path).names() if is_image(found)), None)
    if image is not None:
        raise UserError(
            f"data.source {name} holds Parquet files and images ({image}): which of them? "
            "Give a folder that holds one kind only."
        )
    return Parquet(path, tuple(sorted(path.rglob("*.parquet"))))


@lru_cache(maxsize=16)
def open_table(path: Path) -> pq.ParquetFile:
    """A Parquet file, its footer read."""
    return pq.ParquetFile(path)


@lru_cache(maxsize=2)
def group_rows(path: Path, group: int) -> pa.Table:
    """The image and caption columns of one row group."""
    file = open_table(path)
    columns = [column for column in (image_column(file.schema_arrow), caption_column(file.schema_arrow)) if column]
    return file.read_row_group(group, columns=columns)


@lru_cache(maxsize=16)
def group_ends(path: Path) -> list[int]:
    """The first row after each row group."""
    metadata = open_table(path).metadata
    return list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))


def row_at(path: Path, row: int) -> dict[str, Any]:
    """One row as plain values; neighbouring rows come from the same row group, which stays in memory."""
    ends = group_ends(path)
    group = bisect_right(ends, row)
    start = ends[group - 1] if group else 0
    try:
        return group_rows(path, group).slice(row - start, 1).to_pylist()[0]
    except (pa.ArrowException, OSError) as error:
        raise Rejected(Reason.UNREADABLE, f"row group {group}: {error}"[:200]) from error


def image_column(schema: pa.Schema) -> str | None:
    """The column that holds images: by name, and of a type that can."""
    return next((name for name in IMAGE_COLUMNS if name in schema.names and holds_bytes(schema.field(name).type)), None)


def caption_column(schema: pa.Schema) -> str | None:
    """The column that holds captions."""
    return next((name for name in CAPTION_COLUMNS if name in schema.names), None)


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column's type is binary or a struct with binary `bytes`."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def image_bytes(value: Any) -> bytes:
    """The bytes in an image cell; raises Rejected if there are none."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not content:
        raise Rejected(Reason.UNREADABLE, "the image cell holds no bytes")
    return content

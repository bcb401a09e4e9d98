"""What Ray's data tasks run. Torch is not imported here, so that their processes start fast and stay small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pyarrow as pa

from naruto_add.data.ingest import Item
from naruto_add.data.prepare import Outcome
from naruto_add.data.view import Columns, View, read
from naruto_add.errors import UserError

FAILED = "failed"
"""Reason of an outcome that stops the whole run."""

OUTCOMES = pa.schema(
    [
        *((name, pa.string()) for name in ("name", "reason", "detail")),
        ("image", pa.large_binary()),
        *((name, pa.string()) for name in ("extension", "caption", "language")),
        *((name, pa.int64()) for name in ("width", "height")),
        *((name, pa.string()) for name in ("sha256", "phash", "attributes")),
    ]
)
"""The columns of `data.prepare.Outcome`."""


def process_rows(function: Callable[[Item], Outcome], rows: pa.Table) -> pa.Table:
    """The outcomes of a table of items, in order."""
    outcomes = [asdict(attempt(function, Item(**row))) for row in rows.to_pylist()]
    return pa.Table.from_pylist(outcomes, schema=OUTCOMES)


def attempt(function: Callable[[Item], Outcome], item: Item) -> Outcome:
    """The outcome of an item; a UserError becomes a row too, since Ray keeps only the text of a task's error."""
    try:
        return function(item)
    except UserError as error:
        return Outcome(item.name, FAILED, str(error))


def read_rows(view: View, start: int, rows: Columns) -> Columns:
    """The training rows for a batch of row numbers."""
    return read(view, view.positions(start, rows["row"]))

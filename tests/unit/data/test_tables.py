from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from naruto_add.config import DataConfig
from naruto_add.data.images import Reason, Rejected
from naruto_add.data.ingest import Shape, open_source
from naruto_add.data.prepare import check
from tests.unit.data.pictures import encoded, folder_of, picture

SHAPE = Shape(32, 10**6)


def table(path: Path, numbers: range, struct: bool = False, image: str = "image", caption: str = "text") -> Path:
    """A Parquet file of pictures in row groups of three."""
    contents = [encoded(picture(number)) for number in numbers]
    cells = [{"bytes": content, "path": None} for content in contents] if struct else contents
    captions = [f"ninja number {number}" for number in numbers]
    pq.write_table(pa.table({image: cells, caption: captions, "other": captions}), path, row_group_size=3)
    return path


@pytest.mark.parametrize(
    ("struct", "image", "caption"), [(False, "image", "text"), (True, "image", "caption"), (False, "jpg", "prompt")]
)
def test_rows_are_read_in_any_order(tmp_path: Path, struct: bool, image: str, caption: str) -> None:
    source = open_source(DataConfig(source=str(table(tmp_path / "x.parquet", range(8), struct, image, caption))), 0)
    items = source.listing().items
    assert [item.name for item in items] == [f"x.parquet#{row}" for row in range(8)]
    for row in (7, 0, 3, 2):
        assert source.read(items[row]) == (encoded(picture(row)), f"ninja number {row}")


def test_a_folder_of_files_is_one_source(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    table(tmp_path / "deep/b.parquet", range(4, 6))
    table(tmp_path / "a.parquet", range(4))
    source = open_source(DataConfig(source=str(tmp_path)), 0)
    assert [source.load(item, SHAPE).caption[-1] for item in source.listing().items] == list("012345")


def test_cells_without_bytes_are_refused(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": None, "path": "/etc/passwd"}] * 4, kind)
    pq.write_table(pa.table({"image": cells, "text": ["x"] * 4}), tmp_path / "x.parquet")
    source = open_source(DataConfig(source=str(tmp_path)), 0)
    with pytest.raises(Rejected) as caught:
        source.read(source.listing().items[0])
    assert caught.value.reason == Reason.UNREADABLE


def test_all_broken_files_are_told_together(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", range(4))
    table(tmp_path / "b.parquet", range(4), image="photo")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    first, second = check(DataConfig(source=str(tmp_path)))
    assert "b.parquet has no image column; it has photo, text, other" in first and "image_bytes" in first
    assert "c.parquet is not a Parquet file" in second


def test_tables_without_captions_are_told(tmp_path: Path) -> None:
    (problem,) = check(DataConfig(source=str(table(tmp_path / "x.parquet", range(4), caption="words"))))
    assert "no image has a caption" in problem


def test_images_beside_parquet_files_are_told(tmp_path: Path) -> None:
    table(folder_of(tmp_path, 4) / "x.parquet", range(4))
    (problem,) = check(DataConfig(source=str(tmp_path)))
    assert "which of them" in problem


def test_a_missing_file_is_told() -> None:
    (problem,) = check(DataConfig(source="/no/where.parquet"))
    assert "no such file" in problem

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from naruto_add.config import DataConfig
from naruto_add.data import trees
from naruto_add.data.images import Reason, Rejected
from naruto_add.data.ingest import Shape, open_source
from naruto_add.data.prepare import check, prepare
from naruto_add.data.shards import Shards
from naruto_add.errors import UserError
from naruto_add.storage.s3 import client as s3_client
from tests.unit.data.pictures import encoded, folder_of, picture

SHAPE = Shape(32, 10**6)


def found(source: str) -> dict[str, str]:
    """Names and captions of a source, read item by item."""
    opened = open_source(DataConfig(source=source), 0)
    return {item.name: opened.load(item, SHAPE).caption for item in opened.listing().items}


def test_a_metadata_file_captions_a_whole_tree_in_the_order_of_names(tmp_path: Path) -> None:
    folder_of(tmp_path, 4)
    assert list(found(str(tmp_path)).items()) == [
        ("a/000.jpg", "ninja number 0"),
        ("a/002.jpg", "ninja number 2"),
        ("b/001.jpg", "ninja number 1"),
        ("b/003.jpg", "ninja number 3"),
    ]


def test_csv_sidecars_and_nested_metadata(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("one.png", "two.PNG", "deep/three.png"):
        (tmp_path / name).write_bytes(encoded(picture(len(name))))
    (tmp_path / "metadata.csv").write_text('file_name,caption\none.png,"fire, and rain"\n', encoding="utf-8-sig")
    (tmp_path / "two.txt").write_text("forêt sombre\n", encoding="utf-8")
    (tmp_path / "deep/metadata.jsonl").write_text('{"file_name": "three.png", "text": "deep"}\n\n')
    assert found(str(tmp_path)) == {"deep/three.png": "deep", "one.png": "fire, and rain", "two.PNG": "forêt sombre\n"}


def test_hidden_files_and_unknown_ones_are_not_images(tmp_path: Path) -> None:
    folder_of(tmp_path, 4)
    (tmp_path / ".hidden").mkdir()
    for name in (".hidden/x.jpg", ".x.jpg", "notes.md", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "raw.heic").write_bytes(b"x")
    assert set(found_names(tmp_path)) == {"a/000.jpg", "a/002.jpg", "b/001.jpg", "b/003.jpg", "raw.heic"}


def found_names(root: Path) -> list[str]:
    return [item.name for item in trees.Folder(root).listing().items]


def test_user_files_are_never_touched(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "mine", 12)
    (source / "b/broken.jpg").write_bytes(b"no image")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in source.rglob("*") if path.is_file()}
    (tmp_path / "out").mkdir()
    prepare(DataConfig(source=str(source), size_px=32), 0, tmp_path / "out")
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in source.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("metadata.jsonl", b'{"file_name": "a/000.jpg"\nno\n', "2 lines are not JSON, first line 1"),
        (
            "metadata.jsonl",
            b'{"file_name": "a/000.jpg", "text": "x"}\n[1]\n',
            "1 rows lack what is needed, first line 2",
        ),
        ("metadata.jsonl", b'{"text": "x"}\n', "1 rows lack what is needed"),
        (
            "metadata.jsonl",
            b'{"file_name": "gone.jpg", "text": "x"}\n',
            "1 of 1 file names are not there, first b/gone.jpg",
        ),
        ("metadata.jsonl", b'{"file_name": "../../etc/passwd", "text": "x"}\n', "1 rows lack what is needed"),
        ("metadata.jsonl", b'{"file_name": "/etc/passwd", "text": "x"}\n', "1 rows lack what is needed"),
        ("metadata.csv", b"file_name,text\n\xff\xfe,x\n", "not UTF-8"),
        ("metadata.csv", b'file_name,text\n"a,x\n', "not a CSV table"),
        ("metadata.csv", b"image,text\na/000.jpg,x\n", "1 rows lack what is needed, first line 2"),
    ],
)
def test_broken_metadata_is_told_with_its_place(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    folder_of(tmp_path, 6)
    (tmp_path / "b" / name).write_bytes(content)
    problems = check(DataConfig(source=str(tmp_path)))
    assert any(complaint in problem and name in problem for problem in problems), problems


def test_all_problems_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(picture(0), "JPEG"))
    (tmp_path / "metadata.jsonl").write_text('no\n{"file_name": "b.jpg", "text": "x"}')
    with pytest.raises(UserError, match=r"(?s)4 problems.*not JSON.*not there.*at least 4.*no image has a caption"):
        prepare(DataConfig(source=str(tmp_path)), 0, tmp_path)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "no images there"),
        (["notes.txt"], "no images there"),
        (["1.jpg", "2.jpg", "3.jpg", "4.jpg"], "no image has"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, files: list[str], complaint: str) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"")
    (problem,) = check(DataConfig(source=str(tmp_path)))
    assert complaint in problem and str(tmp_path) in problem


@pytest.mark.parametrize("source", ["/no/such/folder", "./relative", "nowhere"])
def test_a_missing_folder_is_told(source: str) -> None:
    (problem,) = check(DataConfig(source=source))
    assert "no such folder" in problem and "s3://bucket/prefix" in problem


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"")
    (problem,) = check(DataConfig(source=str(tmp_path / "x.zip")))
    assert "is a file" in problem


def test_a_sidecar_in_another_encoding_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, 4)
    (tmp_path / "b/009.jpg").write_bytes(encoded(picture(9), "JPEG"))
    (tmp_path / "b/009.txt").write_bytes("forêt".encode("latin-1"))
    folder = trees.Folder(tmp_path)
    with pytest.raises(Rejected) as caught:
        folder.read(folder.listing().items[-1])
    assert caught.value.reason == Reason.UNREADABLE


def test_files_that_vanish_or_are_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trees.Folder(folder_of(tmp_path, 4))
    first, second, *_ = folder.listing().items
    (tmp_path / first.name).unlink()
    with pytest.raises(Rejected) as gone:
        folder.read(first)
    monkeypatch.setattr(trees, "MAX_BYTES", 10)
    with pytest.raises(Rejected) as large:
        folder.read(second)
    assert (gone.value.reason, large.value.reason) == (Reason.UNREADABLE, Reason.TOO_MANY_BYTES)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A real S3 server in this process; gives its endpoint."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3_client.cache_clear()


@pytest.mark.usefixtures("credentials")
def test_a_bucket_gives_the_same_shards_as_the_folder(tmp_path: Path, s3: str) -> None:
    source = folder_of(tmp_path / "mine", 12)
    client = boto3.client("s3", endpoint_url=s3)
    client.create_bucket(Bucket="ninjas")
    for path in source.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "ninjas", f"set one/{path.relative_to(source).as_posix()}")
    client.put_object(Bucket="ninjas", Key="set one more/other.jpg", Body=b"")
    sources = {"here": str(source), "there": "s3://ninjas/set one"}
    for name, place in sources.items():
        (tmp_path / name).mkdir()
        prepare(DataConfig(source=place, size_px=32, s3_endpoint=s3), 0, tmp_path / name)
    for path in (tmp_path / "here").iterdir():
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()
    assert Shards(tmp_path / "there").count("train") == 8


def noise(number: int) -> Image.Image:
    """A picture that no format makes small."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 255, (256, 256, 3), dtype=np.uint8))


@pytest.mark.usefixtures("credentials")
def test_memory_does_not_grow_with_the_images_of_a_bucket(tmp_path: Path, s3: str) -> None:
    client = boto3.client("s3", endpoint_url=s3)

    def peak(count: int) -> tuple[int, int]:
        """The most memory that preparing so many images took, and the bytes of all images; in bytes."""
        bucket, files = f"many-{count}", {f"{n:03d}.png": encoded(noise(n)) for n in range(count)}
        client.create_bucket(Bucket=bucket)
        for name, content in files.items():
            client.put_object(Bucket=bucket, Key=name, Body=content)
            client.put_object(Bucket=bucket, Key=name.replace("png", "txt"), Body=b"a ninja")
        out = tmp_path / bucket
        out.mkdir()
        config = DataConfig(source=f"s3://{bucket}", size_px=256, num_heldout=4, shard_images=4, s3_endpoint=s3)
        tracemalloc.start()
        prepare(config, 0, out)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, sum(map(len, files.values()))

    peak(4)  # what is imported and made once
    few, many = peak(12), peak(48)
    assert many[0] - few[0] < (many[1] - few[1]) / 4, (few, many)


@pytest.mark.usefixtures("credentials")
def test_a_bucket_that_does_not_answer_is_told(s3: str) -> None:
    (problem,) = check(DataConfig(source="s3://nowhere/x", s3_endpoint=s3))
    assert "s3://nowhere/x/" in problem and "NoSuchBucket" in problem and "AWS_ENDPOINT_URL" in problem
    (problem,) = check(DataConfig(source="s3://", s3_endpoint=s3))
    assert "names no bucket" in problem


def test_missing_credentials_are_told(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3_client.cache_clear()
    (problem,) = check(DataConfig(source="s3://ninjas/x", s3_endpoint=s3))
    assert "credentials" in problem


def test_names_that_are_not_utf_8_are_read_and_shown_in_ascii(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    folder_of(root, 6)
    (root / "caf\udce9.png").write_bytes(encoded(picture(9)))
    (root / "caf\udce9.txt").write_text("a café")
    assert found(str(root))["caf\\xe9.png"] == "a café"
    item = trees.Folder(root).item("caf\udce9.png", {}, {"caf\udce9.txt"})
    assert all(text.isascii() for text in (item.name, item.place, item.sidecar))  # a table of Ray Data can hold them
    out = tmp_path / "out"
    out.mkdir()
    prepare(DataConfig(source=str(root), size_px=32, num_heldout=1), 0, out)
    assert "caf\\xe9.png" in {meta["source"] for split in ("train", "heldout") for meta in Shards(out).metas(split)}


def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "zero.jpg"):
        with pytest.raises(Rejected, match="not a regular file"):
            trees.Folder(tmp_path).content(name)
    (tmp_path / "a.png").write_bytes(encoded(picture(1)))
    (tmp_path / "a.txt").write_bytes(b"a" * (trees.MAX_SIDECAR_BYTES + 1))
    folder = trees.Folder(tmp_path)
    with pytest.raises(Rejected, match="too_many_bytes"):
        folder.read(folder.item("a.png", {}, {"a.txt"}))


def test_hostile_json_is_a_problem_and_no_crash() -> None:
    captions, problems = trees.parse_jsonl('{"file_name": "a.png", "text": "n\\ud800inja"}\n' + "[" * 100_000)
    assert captions == {"a.png": "ninja"} and "1 lines are not JSON, first line 2" in problems[0]

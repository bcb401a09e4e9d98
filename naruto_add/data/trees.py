"""Trees of image files, in a local folder or an S3 bucket, with captions in metadata files or .txt sidecars."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from naruto_add.artifact import is_inside
from naruto_add.data.images import MAX_BYTES, SUFFIXES, Reason, Rejected
from naruto_add.data.ingest import Item, Listing, Source
from naruto_add.errors import UserError
from naruto_add.storage import s3

OTHER_SUFFIXES = (".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".svg", ".psd")
"""Images that are not decoded; listed, so that they show up in the quarantine."""
METADATA = ("metadata.jsonl", "metadata.csv")
MAX_SIDECAR_BYTES = 2**20
CAPTION_COLUMNS = ("caption", "text", "prompt", "captions")
PATIENCE = s3.Patience(seconds=60)
"""With a bucket that does not answer, for each object."""
HOW_TO_CAPTION = (
    "Put a metadata.jsonl beside the images with lines like "
    '{"file_name": "a.jpg", "text": "a ninja in the rain"}, or an a.txt beside each a.jpg, '
    "or set data.caption_model."
)


class Tree(Source):
    """Named files under one root. Names are relative, with forward slashes."""

    @abstractmethod
    def names(self) -> Iterable[str]:
        """All files under the root."""

    @abstractmethod
    def content(self, name: str, most: int | None = None) -> bytes:
        """The bytes of a file, at most `most` (None: MAX_BYTES); raises Rejected."""

    @abstractmethod
    def where(self, name: str) -> str:
        """A file's full name, for messages."""

    def listing(self) -> Listing:
        """Image files in the order of their names, with captions from metadata files or sidecars."""
        names = sorted(self.names())
        known = set(names)
        captions, problems = self.metadata(names, known)
        items = [self.item(name, captions, known) for name in names if is_image(name)]
        return Listing(items, problems, any(item.caption or item.sidecar for item in items))

    def item(self, name: str, captions: dict[str, str], known: set[str]) -> Item:
        """The item of one image file."""
        sidecar = str(PurePosixPath(name).with_suffix(".txt"))
        found = captions.get(name, "")
        here = not found and sidecar in known
        return Item(printable(name), packed(name), caption=found, sidecar=packed(sidecar) if here else "")

    def metadata(self, names: Iterable[str], known: set[str]) -> tuple[dict[str, str], list[str]]:
        """Captions by file name from all metadata files, and what is wrong with those files."""
        captions: dict[str, str] = {}
        problems: list[str] = []
        for name in names:
            if PurePosixPath(name).name not in METADATA:
                continue
            try:
                found, wrong = parse_metadata(name, self.content(name))
            except Rejected as error:
                found, wrong = {}, [f"{error.detail}. Mend or remove it."]
            here = {resolve(name, file): caption for file, caption in found.items()}
            problems += [f"{self.where(name)}: {text}" for text in (*wrong, *unknown(here, known))]
            captions.update(here)
        return captions, problems

    def read(self, item: Item) -> tuple[bytes, str]:
        """The image bytes and the caption, from the listing or the sidecar."""
        name, sidecar = unpacked(item.place), unpacked(item.sidecar)
        if not sidecar:
            return self.content(name), item.caption
        try:
            caption = self.content(sidecar, MAX_SIDECAR_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Rejected(Reason.UNREADABLE, f"{printable(sidecar)} is not UTF-8") from error
        return self.content(name), caption


@dataclass(frozen=True)
class Folder(Tree):
    """A local folder; only ever read."""

    root: Path

    def names(self) -> Iterator[str]:
        """Files in the folder and below, hidden ones left out."""
        for folder, below, files in os.walk(self.root):
            below[:] = [name for name in below if not name.startswith(".")]
            for name in files:
                if not name.startswith("."):
                    yield (Path(folder) / name).relative_to(self.root).as_posix()

    def content(self, name: str, most: int | None = None) -> bytes:
        """Read a file; raises Rejected if it is gone, not allowed, too large, or a pipe or device that has no end."""
        path = self.root / name
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise Rejected(Reason.UNREADABLE, "not a regular file")
            refuse_large(found.st_size, limit_of(most))
            return path.read_bytes()
        except OSError as error:
            raise Rejected(Reason.UNREADABLE, error.strerror or str(error)) from error

    def where(self, name: str) -> str:
        """Its path."""
        return str(self.root / name)


@dataclass(frozen=True)
class Bucket(Tree):
    """Objects under a prefix of an S3 bucket, read one by one; nothing is kept on disk."""

    place: s3.Place

    def names(self) -> Iterable[str]:
        """Keys under the prefix; raises UserError if the bucket does not answer."""
        return self._store().sizes()

    def content(self, name: str, most: int | None = None) -> bytes:
        """Get an object; raises Rejected if it is too large, UserError if the bucket does not answer."""
        limit = limit_of(most)
        content, size = self._store().ask(partial(read_limited, place=self._store().at(name), limit=limit))
        refuse_large(size, limit)
        return content

    def where(self, name: str) -> str:
        """Its URI."""
        return self.place.uri + name

    def _store(self) -> s3.Store:
        return s3.Store(self.place, PATIENCE)


def limit_of(most: int | None) -> int:
    """The largest number of bytes to read; None stands for MAX_BYTES."""
    return MAX_BYTES if most is None else most


def refuse_large(size: int, limit: int) -> None:
    """Raise Rejected for a file of more than `limit` bytes."""
    if size > limit:
        raise Rejected(Reason.TOO_MANY_BYTES, f"{size} bytes, at most {limit}")


def read_limited(client: Any, place: dict[str, str], limit: int) -> tuple[bytes, int]:
    """An object's bytes (none of one that is too large) and their number."""
    answer = client.get_object(**place)
    size = answer["ContentLength"]
    return (answer["Body"].read() if size <= limit else b""), size


def open_folder(name: str) -> Folder:
    """The folder of this name; raises UserError if there is none."""
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(
            f"data.source {name}: no such folder or file. Give builtin, a folder of images, a Parquet file, "
            "a Hugging Face dataset id (owner/name) or s3://bucket/prefix."
        )
    if not path.is_dir():
        raise UserError(f"data.source {name} is a file, not a folder or Parquet file. Give the folder that holds it.")
    return Folder(path.resolve())


def open_bucket(uri: str, endpoint: str | None) -> Bucket:
    """The bucket and prefix of an s3:// URI; raises UserError if it names no bucket."""
    return Bucket(s3.parse(uri, endpoint, setting="data.source"))


def printable(name: str) -> str:
    """A file's name as valid text: bytes of it that are not UTF-8 as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def packed(name: str) -> str:
    """A file's name as text that any table can hold: one that is not UTF-8 as NUL, which no name has, and hex."""
    return name if printable(name) == name else f"\0{name.encode('utf-8', 'surrogateescape').hex()}"


def unpacked(place: str) -> str:
    """The opposite of `packed`."""
    return bytes.fromhex(place[1:]).decode("utf-8", "surrogateescape") if place.startswith("\0") else place


def is_image(name: str) -> bool:
    """Whether a file's suffix is one of an image."""
    return PurePosixPath(name).suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES)


def resolve(metadata: str, file_name: str) -> str:
    """A file name written in a metadata file, relative to the root."""
    return str(PurePosixPath(metadata).parent / PurePosixPath(file_name))


def unknown(captions: dict[str, str], known: set[str]) -> list[str]:
    """One problem if captions belong to files that are not under the root."""
    missing = [name for name in captions if name not in known]
    if not missing:
        return []
    return [f"{len(missing)} of {len(captions)} file names are not there, first {missing[0]}. Mend or remove them."]


def parse_metadata(name: str, content: bytes) -> tuple[dict[str, str], list[str]]:
    """Captions by file name from a metadata.jsonl or metadata.csv, and what is wrong with it."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return {}, [f"not UTF-8 (byte {error.start}). Save it as UTF-8."]
    return parse_csv(text) if name.endswith(".csv") else parse_jsonl(text)


def parse_jsonl(text: str) -> tuple[dict[str, str], list[str]]:
    """Captions by file name from one JSON object a line."""
    rows, broken = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except (ValueError, RecursionError):
            broken.append(number)
    problems = [f"{len(broken)} lines are not JSON, first line {broken[0]}. Mend or remove them."] if broken else []
    captions, wrong = captions_of(rows)
    return captions, problems + wrong


def parse_csv(text: str) -> tuple[dict[str, str], list[str]]:
    """Captions by file name from a CSV table with a header."""
    try:
        return captions_of(list(enumerate(csv.DictReader(io.StringIO(text), strict=True), 2)))
    except csv.Error as error:
        return {}, [f"not a CSV table ({error}). Save it as comma-separated UTF-8 with a header."]


def captions_of(rows: Iterable[tuple[int, Any]]) -> tuple[dict[str, str], list[str]]:
    """Captions by file name from numbered rows; the first row of a file counts."""
    captions: dict[str, str] = {}
    wrong: list[int] = []
    for number, row in rows:
        file_name = row.get("file_name") if isinstance(row, dict) else None
        if isinstance(file_name, str) and is_inside(file_name):
            captions.setdefault(file_name, caption_in(row))
        else:
            wrong.append(number)
    if not wrong:
        return captions, []
    needed = f"a file_name inside the folder, and one of {', '.join(CAPTION_COLUMNS)}"
    return captions, [f"{len(wrong)} rows lack what is needed, first line {wrong[0]}. Each needs {needed}."]


def caption_in(row: dict[str, Any]) -> str:
    """The first text among the caption columns, without lone surrogates (JSON can write them); empty: none."""
    found = next((row[name] for name in CAPTION_COLUMNS if isinstance(row.get(name), str)), "")
    return found.encode("utf-8", "ignore").decode("utf-8")

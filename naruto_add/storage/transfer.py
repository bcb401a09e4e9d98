"""One file to S3 and back: in parts where it is large, going on where it was interrupted, hashed at both ends.

Every request carries the sha256 of its bytes, which the storage checks; the object carries that of the whole file.
What comes back is believed only if it has the sha256 that the manifest says.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from naruto_add.artifact import sha256_file
from naruto_add.errors import UserError
from naruto_add.storage.s3 import Refused, Store

PART_BYTES = 16 * 2**20
"""Files are sent and fetched in parts of this size, so that a lost connection costs one part at most."""
MOST_PARTS = 10_000
BLOCK_BYTES = 2**14
"""What a connection that is cut may lose."""


class Damaged(UserError):
    """Bytes that are not those of the manifest."""


def upload(store: Store, key: str, path: Path, sha256: str, pool: ThreadPoolExecutor) -> None:
    """Send a file; `pool` sends the parts of a large one.

    Raises Damaged if the file has not this sha256, and what `Store.ask` raises.
    """
    if sha256_file(path) != sha256:
        raise Damaged(f"{path}: content changed since it was made. Make it again.")
    if is_large(path.stat().st_size):
        upload_parts(store, key, path, sha256, pool)
    else:
        put(store, key, path.read_bytes())


def is_large(size: int) -> bool:
    """Whether a file of so many bytes goes in parts."""
    return size > PART_BYTES


def is_there(store: Store, key: str, size: int, sha256: str) -> bool:
    """Whether the storage has this object, with this hash."""
    try:
        found = store.ask(lambda s3: s3.head_object(**store.at(key)))
    except Refused as refused:
        if refused.code in ("404", "NoSuchKey"):
            return False
        raise
    return found["ContentLength"] == size and found["Metadata"].get("sha256") == sha256


def put(store: Store, key: str, content: bytes) -> None:
    """Send a small object whole."""
    sha256 = hashlib.sha256(content)
    described = {"ChecksumSHA256": checksum(content), "Metadata": {"sha256": sha256.hexdigest()}}
    store.ask(lambda s3: s3.put_object(**store.at(key), Body=content, **described))


def upload_parts(store: Store, key: str, path: Path, sha256: str, pool: ThreadPoolExecutor) -> None:
    """Send a large file; parts that an interrupted attempt has left are kept."""
    upload_id = open_upload(store, key, sha256)
    size = path.stat().st_size
    part_bytes = max(PART_BYTES, -(-size // MOST_PARTS))
    numbers = range(1, -(-size // part_bytes) + 1)
    send = partial(send_part, store, key, upload_id, path, part_bytes, parts_there(store, key, upload_id))
    parts = list(pool.map(send, numbers))
    named = {**store.at(key), "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
    try:
        store.ask(lambda s3: s3.complete_multipart_upload(**named))
    except Refused as refused:  # the answer to an earlier try may have been lost
        if refused.code != "NoSuchUpload" or not is_there(store, key, size, sha256):
            raise


def open_upload(store: Store, key: str, sha256: str) -> str:
    """The id of the upload that was begun for this key, or of a new one."""
    named = {"Bucket": store.place.bucket, "Prefix": store.place.prefix + key}
    begun = store.ask(lambda s3: s3.list_multipart_uploads(**named)).get("Uploads", ())
    ids = [upload["UploadId"] for upload in begun if upload["Key"] == store.place.prefix + key]
    if ids:
        return str(ids[-1])
    described = {"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": sha256}}
    return str(store.ask(lambda s3: s3.create_multipart_upload(**store.at(key), **described))["UploadId"])


def parts_there(store: Store, key: str, upload_id: str) -> dict[int, dict[str, Any]]:
    """The parts that have arrived, by number."""
    named: dict[str, Any] = {**store.at(key), "UploadId": upload_id}
    found: dict[int, dict[str, Any]] = {}
    while True:
        page = store.ask(lambda s3: s3.list_parts(**named))
        found |= {part["PartNumber"]: part for part in page.get("Parts", ())}
        if not page.get("IsTruncated"):
            return found
        named["PartNumberMarker"] = page["NextPartNumberMarker"]


def send_part(
    store: Store, key: str, upload_id: str, path: Path, part_bytes: int, there: dict[int, dict[str, Any]], number: int
) -> dict[str, Any]:
    """Send one part unless it has arrived already; returns what completes the upload."""
    with path.open("rb") as file:
        file.seek((number - 1) * part_bytes)
        content = file.read(part_bytes)
    done = {"PartNumber": number, "ChecksumSHA256": checksum(content)}
    if number in there and is_part(there[number], content):
        return {**done, "ETag": there[number]["ETag"]}
    named = {**store.at(key), "UploadId": upload_id, **done}
    return {**done, "ETag": store.ask(lambda s3: s3.upload_part(**named, Body=content))["ETag"]}


def is_part(there: dict[str, Any], content: bytes) -> bool:
    """Whether a part that has arrived is this one, by its sha256, or where the storage tells none, by its md5."""
    if "ChecksumSHA256" in there:
        return bool(there["ChecksumSHA256"] == checksum(content))
    return bool(there["ETag"].strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest())


def checksum(content: bytes) -> str:
    """The sha256 of some bytes as S3 writes it."""
    return b64encode(hashlib.sha256(content).digest()).decode()


def download(store: Store, key: str, path: Path, size: int, sha256: str) -> None:
    """Fetch a file unless `path` is it already; raises Damaged if the object has another size or hash.

    The bytes gather in a file beside it, where an interrupted attempt goes on.
    """
    if path.is_file() and path.stat().st_size == size and sha256_file(path) == sha256:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    gathered = path.with_name(f".{path.name}.part")
    for _ in range(2):  # damaged on the way, or on this disk: once more from the start
        gather(store, key, gathered, size)
        if sha256_file(gathered) == sha256:
            gathered.replace(path)
            return
        gathered.unlink()
    raise Damaged(f"{store.place.uri}{key} is damaged in the storage: its content is not what its manifest says.")


def gather(store: Store, key: str, gathered: Path, size: int) -> None:
    """Append to `gathered` what is missing of the object's bytes, one part after the other."""
    gathered.touch()
    while (start := gathered.stat().st_size) < size:
        store.ask(partial(append, place=store.at(key), gathered=gathered, stop=min(start + PART_BYTES, size)))


def append(s3: Any, place: dict[str, str], gathered: Path, stop: int) -> None:
    """One request for the bytes up to `stop` that `gathered` has not yet."""
    start = gathered.stat().st_size
    if start >= stop:
        return
    body = s3.get_object(**place, Range=f"bytes={start}-{stop - 1}")["Body"]
    with gathered.open("ab") as file:
        for block in body.iter_chunks(BLOCK_BYTES):
            file.write(block)

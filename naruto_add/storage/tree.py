"""Folders with a manifest, in S3: they appear whole or not at all, and the one before stays whole until then.

The files of `NAME` lie below `NAME/VERSION/`, a version being the first digits of its manifest's sha256, as a complete
folder with its manifest. `NAME/manifest.json`, put last, is the marker that says which version counts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from naruto_add.artifact import MANIFEST, flush, is_inside, sha256_file
from naruto_add.storage.s3 import STREAMS, Refused, Store
from naruto_add.storage.transfer import Damaged, download, is_large, is_there, put, upload

Files = dict[str, tuple[int, str]]
"""Size in bytes and sha256 by relative path."""


def marker(name: str) -> str:
    """The key of the object that says which version counts."""
    return f"{name}/{MANIFEST}"


def version(manifest: bytes) -> str:
    """What a version is called."""
    return hashlib.sha256(manifest).hexdigest()[:16]


def files_of(manifest: bytes, where: str) -> Files:
    """The files that a manifest lists; raises Damaged if it is none, or names files outside its folder."""
    try:
        files = {str(name): (int(size), str(sha256)) for name, (size, sha256) in json.loads(manifest)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{where}/{MANIFEST} is not a manifest of naruto-add ({type(error).__name__}).") from error
    strangers = [name for name in files if not is_inside(name)]
    if strangers:
        raise Damaged(f"{where}/{MANIFEST} names a file outside its folder: {strangers[0]!r}. Nothing was fetched.")
    return files


def send(store: Store, name: str, folder: Path) -> None:
    """Send a committed folder and make it the one that counts; what has arrived already is not sent again."""
    manifest = (folder / MANIFEST).read_bytes()
    if store.read(marker(name)) == manifest:
        return
    files, below = files_of(manifest, str(folder)), f"{name}/{version(manifest)}"
    arrived = store.sizes(f"{below}/")
    with ThreadPoolExecutor(STREAMS) as pool:

        def one(file: str) -> None:
            """Send a file, unless it has arrived."""
            key, (size, sha256) = f"{below}/{file}", files[file]
            if key not in arrived or not is_there(store, key, size, sha256):
                upload(store, key, folder / file, sha256, pool)

        large = {file for file, (size, _) in files.items() if is_large(size)}
        list(pool.map(one, files.keys() - large))
        for file in large:  # one by one, for their parts go side by side
            one(file)
    put(store, f"{below}/{MANIFEST}", manifest)
    put(store, marker(name), manifest)


def fetch(store: Store, name: str, manifest: bytes, folder: Path) -> None:
    """Fetch the version with this manifest into `folder`; called again after an interruption it goes on there.

    Raises Damaged if a file in the storage is not what the manifest says.
    """
    fetch_below(store, f"{name}/{version(manifest)}/", manifest, folder)


def fetch_below(store: Store, below: str, manifest: bytes, folder: Path) -> None:
    """As `fetch`, of files whose keys begin with `below`: empty, or with a slash at its end."""
    files = files_of(manifest, f"{store.place.uri}{below}".rstrip("/"))

    def one(file: str) -> None:
        """Fetch a file."""
        try:
            download(store, f"{below}{file}", folder / file, *files[file])
        except Refused as refused:
            if refused.code not in ("NoSuchKey", "InvalidRange"):
                raise
            raise Damaged(f"{store.place.uri}{below}{file} is missing or cut short in the storage.") from refused
        flush(folder / file)

    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(one, files))
    (folder / MANIFEST).write_bytes(manifest)
    flush(folder / MANIFEST)


def staging(folder: Path, manifest: bytes) -> Path:
    """Where a version gathers before it becomes `folder`; those of other versions are removed."""
    mine = folder.parent / f".{folder.name}.fetched-{version(manifest)}"
    for other in folder.parent.glob(f".{folder.name}.fetched-*"):
        if other != mine:
            shutil.rmtree(other)
    return mine


def names(store: Store, above: str) -> dict[str, bool]:
    """The folders directly below `above/`, the last in order of names first, and whether each has its marker.

    Names that begin with a dot are none of ours, and could lead out of a local folder.
    """
    found: dict[str, bool] = {}
    for key in store.sizes(f"{above}/"):
        name, _, rest = key.removeprefix(f"{above}/").partition("/")
        if not name.startswith("."):
            found[name] = found.get(name, False) or rest == MANIFEST
    return dict(sorted(found.items(), reverse=True))


def remove(store: Store, name: str) -> None:
    """Remove a folder, its marker first, and what uploads to it were begun."""
    store.delete(marker(name))
    for key in store.sizes(f"{name}/"):
        store.delete(key)
    abort(store, f"{name}/")


def abort(store: Store, prefix: str) -> None:
    """Give up the uploads that were begun below `prefix`: their parts cost money for as long as they lie there."""
    named = {"Bucket": store.place.bucket, "Prefix": store.place.prefix + prefix}
    for begun in store.ask(lambda s3: s3.list_multipart_uploads(**named)).get("Uploads", ()):
        abort_one(store, {"Bucket": named["Bucket"], "Key": begun["Key"], "UploadId": begun["UploadId"]})


def abort_one(store: Store, begun: dict[str, str]) -> None:
    """Give up one upload; one that is no more is fine too."""
    try:
        store.ask(lambda s3: s3.abort_multipart_upload(**begun))
    except Refused as refused:
        if refused.code != "NoSuchUpload":
            raise


def is_whole(folder: Path) -> bool:
    """Whether a local folder has all that its manifest lists."""
    try:
        files = files_of((folder / MANIFEST).read_bytes(), str(folder))
        return all(sha256_file(folder / name) == sha256 for name, (_, sha256) in files.items())
    except (OSError, Damaged):
        return False

"""A run on s3://bucket/prefix: the stages work in a local mirror of it, and know nothing of the storage.

The mirror of s3://bucket/prefix is the folder `s3/bucket/prefix` of the cache (~/.cache/naruto-add, or what
NARUTO_ADD_CACHE names); a run of any other path is on this machine alone, and every function here then does nothing.
Artifacts are sent when they are committed and fetched where this machine lacks them; of two machines that make the
same artifact the last one counts, and the other's version stays in the storage.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from naruto_add import artifact
from naruto_add.artifact import MANIFEST, Manifest
from naruto_add.errors import UserError
from naruto_add.storage import tree
from naruto_add.storage.s3 import SCHEME, Patience, Store, parse, round_trip

CACHE = "NARUTO_ADD_CACHE"
AGREED = ".stored.json"
"""In a mirror: the digest of each artifact as the storage and this machine last agreed on it."""
FIRST_PATIENCE = Patience(seconds=15)
"""Before anything has begun."""
PATIENCE = Patience()
"""Once there is something to lose."""

log = logging.getLogger(__name__)


def local(run: str, setting: str = "--run") -> Path:
    """The folder that the stages work in: `run` itself, or the mirror of an s3:// URI; raises UserError."""
    if not run.startswith(SCHEME):
        return Path(run)
    place = parse(run, setting=setting)
    parts = place.prefix.removesuffix("/").split("/") if place.prefix else []
    if {"", ".", ".."} & {place.bucket, *parts}:
        raise UserError(f"{setting} {run}: between two slashes there must be a name, and not . or ..")
    return mirrors() / place.bucket / Path(*parts)


def problems(run: str) -> list[str]:
    """What is wrong with the name of a run."""
    try:
        local(run)
    except UserError as error:
        return [str(error)]
    return []


def mirrors() -> Path:
    """Where all mirrors are."""
    return cache() / "s3"


def cache() -> Path:
    """The folder on this machine for what can be fetched or made again."""
    named = os.environ.get(CACHE)
    return (Path(named) if named else Path.home() / ".cache" / "naruto-add").absolute()


def store_of(run: Path, patience: Patience | None = None) -> Store | None:
    """The storage that a folder mirrors; None for a folder that is no mirror."""
    if not run.absolute().is_relative_to(mirrors()) or run.absolute() == mirrors():
        return None
    return Store(parse(SCHEME + run.absolute().relative_to(mirrors()).as_posix()), patience or PATIENCE)


def check(run: Path) -> list[str]:
    """Why nothing can be kept in the storage of a run: a small object is written, read and deleted there."""
    store = store_of(run, FIRST_PATIENCE)
    if store is None:
        return []
    try:
        sound = round_trip(store, run.name.encode()) == run.name.encode()
    except UserError as error:
        return [str(error)]
    return [] if sound else [f"{store.place.uri} gives back something else than was written: choose another --run."]


def fetch_current(run: Path, kind: str, key: str) -> bool:
    """Fetch the artifact with this key if the storage has it and this machine has not; returns whether it did."""
    store = store_of(run)
    if store is None or artifact.is_current(run / kind, key):
        return False
    found = stored(store, kind)
    if found is None or found[1].key != key:
        return False
    fetch(store, run, kind, *found)
    return True


def fetch_newer(run: Path, kind: str) -> None:
    """Fetch the artifact that the storage has, and its forebears, unless this machine has made one since."""
    store = store_of(run)
    found = None if store is None else stored(store, kind)
    if store is None or found is None:
        return
    content, manifest = found
    here = digest_of(run / kind)
    if here is None or (here != manifest.digest and here == agreed(run).get(kind)):
        fetch(store, run, kind, content, manifest)
    for parent in manifest.parents:
        fetch_newer(run, parent)


def digest_of(path: Path) -> str | None:
    """The digest of a whole artifact; None if there is none."""
    if not (path / MANIFEST).is_file():
        return None
    manifest = artifact.read_manifest(path)
    return None if artifact.missing_files(path, manifest) else manifest.digest


def stored(store: Store, kind: str) -> tuple[bytes, Manifest] | None:
    """The manifest of the artifact in the storage, as it lies there and read; None if there is none."""
    content = store.read(tree.marker(kind))
    return None if content is None else (content, artifact.parse_manifest(content, store.place.uri + kind))


def fetch(store: Store, run: Path, kind: str, content: bytes, manifest: Manifest) -> None:
    """Make the artifact with this manifest the run's; one that was there is set aside."""
    log.info("fetching %s from %s", kind, store.place.uri)
    staging = tree.staging(run / kind, content)
    tree.fetch(store, kind, content, staging)
    artifact.set_aside(run / kind)
    os.replace(staging, run / kind)
    artifact.flush(run)
    agree(run, kind, manifest.digest)


def send(run: Path, kind: str) -> None:
    """Send the run's artifact unless the storage has it; raises UserError if the storage does not take it."""
    store = store_of(run)
    if store is None:
        return
    tree.send(store, kind, run / kind)
    agree(run, kind, artifact.read_manifest(run / kind).digest)


def agreed(run: Path) -> dict[str, str]:
    """What storage and machine last agreed on."""
    path = run / AGREED
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def agree(run: Path, kind: str, digest: str) -> None:
    """Note that both have this artifact."""
    artifact.write_json(run / AGREED, agreed(run) | {kind: digest})

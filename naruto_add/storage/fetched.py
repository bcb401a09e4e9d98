"""A bundle or teacher to be used: a folder, or an s3:// URI, which is fetched into the cache once.

s3://bucket/runs/demo/bundle is the version that counts there now, s3://bucket/runs/demo/bundle/VERSION that one for
good; a folder that somebody has copied to a bucket as it is will do too. In the cache a version lies below its own name
and never changes, so processes may read it while another one fetches its successor.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from dataclasses import replace
from pathlib import Path

from naruto_add import artifact
from naruto_add.artifact import MANIFEST
from naruto_add.errors import UserError
from naruto_add.storage import mirror, tree
from naruto_add.storage.s3 import SCHEME, Store, parse

log = logging.getLogger(__name__)


def folder(name: str, kind: str) -> Path:
    """The folder of the artifact that `name` names, fetched unless this machine has it already to the last bit.

    Raises UserError for an s3:// URI where there is none of this kind or a damaged one, or that does not answer; a
    folder is not looked at.
    """
    if not name.startswith(SCHEME):
        return Path(name)
    pinned_one = cached(name.rstrip("/").rpartition("/")[2])
    if is_here(pinned_one):
        return pinned_one
    store, manifest = found(name, kind)
    wanted = cached(tree.version(manifest))
    if not is_here(wanted):
        fetch(replace(store, patience=mirror.PATIENCE), manifest, wanted, mirror.local(name, kind))
    return wanted


def pinned(name: str, kind: str) -> str:
    """The URI of the version that counts now; the same name for a folder, or for what has no versions.

    Raises UserError for an s3:// URI where there is none of this kind.
    """
    return f"{name.rstrip('/')}/{below(*found(name, kind))}".rstrip("/") if name.startswith(SCHEME) else name


def found(name: str, kind: str) -> tuple[Store, bytes]:
    """The storage at a URI, and the manifest that counts there; raises UserError unless it is one of this kind."""
    mirror.local(name, kind)
    store = Store(parse(name), mirror.FIRST_PATIENCE)
    content, where = store.read(MANIFEST), name.rstrip("/")
    if content is None:
        raise UserError(
            f"{where}: no {kind} there ({MANIFEST} is missing). Write s3://bucket/prefix/{kind}, or run the stage that "
            "makes it first."
        )
    manifest = artifact.parse_manifest(content, where)
    if manifest.kind != kind:
        raise UserError(f"{where} is a {manifest.kind}, not a {kind}.")
    return store, content


def below(store: Store, manifest: bytes) -> str:
    """Where the files are: below their version, or where a whole folder lies, as versions do, beside their manifest."""
    version = f"{tree.version(manifest)}/"
    return version if store.read(version + MANIFEST) == manifest else ""


def cached(version: str) -> Path:
    """Where a version lies on this machine."""
    return mirror.cache() / "fetched" / version


def is_here(version: Path) -> bool:
    """Whether a version in the cache is whole, every file of it hashed."""
    return tree.is_whole(version) and tree.version((version / MANIFEST).read_bytes()) == version.name


def fetch(store: Store, manifest: bytes, wanted: Path, mirrored: Path) -> None:
    """Fetch a version; of several processes of this machine one does, and the others wait for it."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with wanted.with_name(f".{wanted.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_here(wanted):
            return
        log.info("fetching %s", store.place.uri)
        staging = tree.staging(wanted, manifest)
        own = mirrored / MANIFEST
        if not staging.exists() and own.is_file() and own.read_bytes() == manifest:  # made or fetched by a run here
            without = shutil.ignore_patterns(MANIFEST)
            shutil.copytree(mirrored, staging, copy_function=artifact.link_or_copy, ignore=without)
        tree.fetch_below(store, below(store, manifest), manifest, staging)
        shutil.rmtree(wanted, ignore_errors=True)  # it was damaged here
        staging.replace(wanted)
        artifact.flush(wanted.parent)

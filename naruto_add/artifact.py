"""Artifacts: directories that appear whole or not at all, with a manifest that traces them to their parents.

`build` writes aside (`.NAME.partial`), hashes every file, writes `manifest.json` last and commits by one rename.
The `key` of an artifact names what it is made of (kind, schema, config, parents' digests); its `digest` names what
came out (key and the sha256 of every file). Same key: the stage is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from naruto_add import __version__
from naruto_add.errors import UserError

SCHEMA = 1
MANIFEST = "manifest.json"
SEAL = "seal"


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256_text(text: str) -> str:
    """The sha256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What an artifact is: `files` maps a relative path to [size in bytes, sha256]."""

    kind: str
    config: dict[str, Any]
    parents: dict[str, str]
    files: dict[str, list[Any]] = field(default_factory=dict)
    schema: int = SCHEMA
    code: str = __version__

    @property
    def key(self) -> str:
        """The hash of everything that the artifact is made of."""
        made_of = {"kind": self.kind, "schema": self.schema, "config": self.config, "parents": self.parents}
        return sha256_text(canonical(made_of))

    @property
    def digest(self) -> str:
        """The hash of what it is made of and of every file in it."""
        return sha256_text(canonical({"key": self.key, "files": self.files}))


@dataclass(frozen=True)
class Artifact:
    """A committed directory and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """See `Manifest.digest`."""
        return self.manifest.digest


def build(
    path: Path, *, kind: str, config: Mapping[str, Any], parents: Mapping[str, Artifact], make: Callable[[Path], None]
) -> Artifact:
    """Return the artifact at `path`, made by `make(folder)` unless it is there already with the same key.

    An artifact of another key at `path` is moved to `path.parent/.old/`, never deleted. Raises what `make` raises,
    leaving nothing at `path`; raises UserError where `path` holds something that is not an artifact of ours.
    """
    wanted = plan(kind, config, parents)
    if is_current(path, wanted.key):
        return open_artifact(path, kind)
    partial = path.parent / f".{path.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    make(partial)
    return commit(partial, path, wanted)


def plan(kind: str, config: Mapping[str, Any], parents: Mapping[str, Artifact]) -> Manifest:
    """The manifest that an artifact made of these will have, its files still unknown; its key says if it is current."""
    plain = json.loads(canonical(config))
    return Manifest(kind=kind, config=plain, parents={name: parent.digest for name, parent in parents.items()})


def is_current(path: Path, key: str) -> bool:
    """Whether `path` holds a committed artifact with this key, all files there in their right sizes."""
    if not (path / MANIFEST).is_file():
        return False
    manifest = read_manifest(path)
    return manifest.key == key and not missing_files(path, manifest)


def commit(partial: Path, path: Path, wanted: Manifest) -> Artifact:
    """Hash the files in `partial`, write its manifest, flush to disk and rename it to `path`."""
    files = {p.relative_to(partial).as_posix(): p for p in sorted(partial.rglob("*")) if p.is_file()}
    hashed = {name: [p.stat().st_size, sha256_file(p)] for name, p in files.items()}
    manifest = Manifest(kind=wanted.kind, config=wanted.config, parents=wanted.parents, files=hashed)
    write_json(partial / MANIFEST, sealed({**asdict(manifest), "digest": manifest.digest}))
    for name in (*files, MANIFEST):
        flush(partial / name)
    set_aside(path)
    os.replace(partial, path)
    flush(path.parent)
    return Artifact(path, manifest)


def set_aside(path: Path) -> None:
    """Move an older artifact at `path` to `.old/NAME-DIGEST`; refuse to touch anything that is not an artifact."""
    if not path.exists():
        return
    if not (path / MANIFEST).is_file():
        raise UserError(f"{path} exists and is not an artifact of naruto-add; move it away or choose another --run.")
    old = path.parent / ".old" / f"{path.name}-{read_manifest(path).digest[:12]}"
    old.parent.mkdir(exist_ok=True)
    shutil.rmtree(old, ignore_errors=True)
    os.replace(path, old)


def open_artifact(path: Path, kind: str) -> Artifact:
    """Open a committed artifact; raises UserError if it is missing, of another kind, or has lost files."""
    if not (path / MANIFEST).is_file():
        raise UserError(f"{path}: no {kind} there ({MANIFEST} is missing). Run the stage that makes it first.")
    manifest = read_manifest(path)
    if manifest.kind != kind:
        raise UserError(f"{path} is a {manifest.kind}, not a {kind}.")
    missing = missing_files(path, manifest)
    if missing:
        raise UserError(f"{path}: {len(missing)} files are missing or cut short, first {missing[0]}. Make it again.")
    return Artifact(path, manifest)


def link(source: Artifact, path: Path) -> Artifact:
    """The same artifact at `path` too, by hard links where the file system allows, else by copies.

    An artifact of other content at `path` is moved aside as `build` does; the source is only read.
    """
    if is_current(path, source.manifest.key) and read_manifest(path).digest == source.digest:
        return open_artifact(path, source.manifest.kind)
    partial = path.parent / f".{path.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source.path, partial, copy_function=link_or_copy)
    set_aside(path)
    os.replace(partial, path)
    flush(path.parent)
    return open_artifact(path, source.manifest.kind)


def link_or_copy(source: str, target: str) -> None:
    """A hard link, or a copy where the two places share no file system that knows them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def verify(artifact: Artifact) -> None:
    """Hash every file again; raises UserError that names the files whose content has changed."""
    wrong = [n for n, (_, sha) in artifact.manifest.files.items() if sha256_file(artifact.path / n) != sha]
    if wrong:
        raise UserError(f"{artifact.path}: content changed since it was made: {', '.join(wrong)}. Make it again.")


def read_manifest(path: Path) -> Manifest:
    """Read and check `path/manifest.json`; raises UserError if it is not a manifest of ours."""
    return parse_manifest((path / MANIFEST).read_bytes(), str(path))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """As `read_manifest`, of the bytes of `where`'s manifest."""
    try:
        values = parse_sealed(content)
        digest = values.pop("digest")
        manifest = Manifest(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}/{MANIFEST} is not a manifest of naruto-add ({error}).") from error
    if manifest.schema > SCHEMA:
        raise UserError(f"{where} was made by a newer naruto-add (schema {manifest.schema}); update naruto-add.")
    if manifest.digest != digest:
        raise UserError(f"{where}/{MANIFEST} has been altered: its digest does not match. Make it again.")
    return manifest


def is_inside(name: str) -> bool:
    """Whether a relative name, written with forward slashes, stays within its folder."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts


def missing_files(path: Path, manifest: Manifest) -> list[str]:
    """Names of the files that are not there or whose size is wrong."""
    return [
        name
        for name, (size, _) in manifest.files.items()
        if not (path / name).is_file() or (path / name).stat().st_size != size
    ]


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values and a hash of them all: no bit of what `write_json` makes of it can change unnoticed."""
    return {**values, SEAL: sha256_text(canonical(values))}


def read_sealed(path: Path) -> dict[str, Any]:
    """The values of a sealed JSON file, without the seal; raises ValueError if a bit has changed.

    Files of versions that wrote no seal are read too, so callers must refuse names that they do not know: the seal's
    own name may have changed.
    """
    return parse_sealed(path.read_bytes())


def parse_sealed(content: bytes) -> dict[str, Any]:
    """As `read_sealed`, of a file's bytes."""
    text = content.decode("utf-8")
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    altered = readable(values) != text
    seal = values.pop(SEAL, None)
    if altered or (seal is not None and seal != sha256_text(canonical(values))):
        raise ValueError("its content has changed since it was written")
    return values


def readable(value: Any) -> str:
    """JSON for people, with a final newline; equal values give equal text."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON, aside and then renamed, so that it is never half-written."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(readable(value), encoding="utf-8")
    os.replace(aside, path)


def flush(path: Path) -> None:
    """Force a file's or folder's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

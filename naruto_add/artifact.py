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
from pathlib import Path
from typing import Any

from naruto_add import __version__
from naruto_add.errors import UserError

SCHEMA = 1
MANIFEST = "manifest.json"


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
    write_json(partial / MANIFEST, {**asdict(manifest), "digest": manifest.digest})
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


def verify(artifact: Artifact) -> None:
    """Hash every file again; raises UserError that names the files whose content has changed."""
    wrong = [n for n, (_, sha) in artifact.manifest.files.items() if sha256_file(artifact.path / n) != sha]
    if wrong:
        raise UserError(f"{artifact.path}: content changed since it was made: {', '.join(wrong)}. Make it again.")


def read_manifest(path: Path) -> Manifest:
    """Read and check `path/manifest.json`; raises UserError if it is not a manifest of ours."""
    try:
        values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        digest = values.pop("digest")
        manifest = Manifest(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path / MANIFEST} is not a manifest of naruto-add ({error}).") from error
    if manifest.schema > SCHEMA:
        raise UserError(f"{path} was made by a newer naruto-add (schema {manifest.schema}); update naruto-add.")
    if manifest.digest != digest:
        raise UserError(f"{path / MANIFEST} has been altered: its digest does not match. Make it again.")
    return manifest


def missing_files(path: Path, manifest: Manifest) -> list[str]:
    """Names of the files that are not there or whose size is wrong."""
    return [
        name
        for name, (size, _) in manifest.files.items()
        if not (path / name).is_file() or (path / name).stat().st_size != size
    ]


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON with a final newline, aside and then renamed, so that it is never half-written."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(aside, path)


def flush(path: Path) -> None:
    """Force a file's or folder's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

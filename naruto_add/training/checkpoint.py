"""Checkpoints: folders `images-000000001280` that appear whole or not at all, and are believed only if every hash fits.

Every rank writes its share of the tensors to a file of its own; when all have, rank 0 writes the state, the manifest
with the sha256 of every file, and commits by one rename. Tensors are stored whole and by name (safetensors), so that
another number of workers or another ZeRO stage can go on from them.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from naruto_add.artifact import MANIFEST, flush, read_sealed, sealed, sha256_file, write_json
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState
from naruto_add.training.world import World

SCHEMA = 1
STATE = "state.json"
FIELDS = {"kind", "schema", "workers", "files"}
KEEP = 2
REPLACED = ".replaced"
NAME = re.compile(r"images-(\d{12})")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draft:
    """A checkpoint that is still to be written: this rank's copies of the tensors, which training no longer changes."""

    path: Path
    state: TrainState
    tensors: dict[str, Tensor]
    world: World

    @property
    def partial(self) -> Path:
        """Where it is until it is whole."""
        return self.path.with_name(f".{self.path.name}.partial")


def save(folder: Path, state: TrainState, players: Iterable[Player], world: World, keep: int = KEEP) -> Path:
    """Write a checkpoint of all players, commit it and drop all but the newest `keep`; called by all ranks."""
    made = draft(folder, state, players, world)
    write(made)
    world.barrier()
    commit(made, keep)
    world.barrier()
    return made.path


def draft(folder: Path, state: TrainState, players: Iterable[Player], world: World) -> Draft:
    """Copy what this rank has to write, and make room for it; called by all ranks."""
    made = Draft(folder / f"images-{state.images:012d}", state, share(players, world), world)
    if world.leads:
        shutil.rmtree(made.partial, ignore_errors=True)
        made.partial.mkdir(parents=True)
    world.barrier()
    return made


def write(made: Draft) -> None:
    """Write this rank's file, in whatever thread: nothing is said to the other ranks."""
    file = made.partial / f"rank-{made.world.rank:05d}.safetensors"
    save_file(made.tensors, file)
    flush(file)


def share(players: Iterable[Player], world: World) -> dict[str, Tensor]:
    """Copies of the tensors that this rank writes: every `world.size`-th; all ranks help to gather each."""
    numbered = enumerate(chain.from_iterable(player.tensors() for player in players))
    mine = ((name, tensor) for number, (name, tensor) in numbered if number % world.size == world.rank)
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in mine}


def commit(made: Draft, keep: int = KEEP) -> None:
    """Once all ranks have written: rank 0 writes state and manifest, flushes, renames, and drops what is too old.

    One of the same name (a broken one, or after a rollback) is kept aside until the new one has its place.
    """
    if not made.world.leads:
        return
    partial, path = made.partial, made.path
    write_json(partial / STATE, asdict(made.state))
    files = {file.name: [file.stat().st_size, sha256_file(file)] for file in sorted(partial.iterdir())}
    manifest = {"kind": "checkpoint", "schema": SCHEMA, "workers": made.world.size, "files": files}
    write_json(partial / MANIFEST, sealed(manifest))
    for name in (STATE, MANIFEST, "."):
        flush(partial / name)
    aside = path.with_name(f".{path.name}{REPLACED}")
    shutil.rmtree(aside, ignore_errors=True)
    if path.exists():
        path.replace(aside)
    partial.replace(path)
    flush(path.parent)
    shutil.rmtree(aside, ignore_errors=True)
    prune(path.parent, keep)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for old in checkpoints(folder)[keep:]:
        shutil.rmtree(old)


def load(folder: Path, players: Iterable[Player], world: World) -> TrainState | None:
    """Set all players to the newest valid checkpoint and return its state; None if there is none; all ranks."""
    if world.leads:
        put_back(folder)
    found = newest(folder) if world.leads else None
    images = world.broadcast(-1 if found is None else images_of(found))
    if images < 0:
        return None
    path = folder / f"images-{images:012d}"
    tensors = Tensors(path)
    for player in players:
        player.load(tensors)
    return read_state(path)


def put_back(folder: Path) -> None:
    """Give checkpoints that a kill has left aside, half replaced, their names again; remove those replaced."""
    for aside in folder.glob(f".*{REPLACED}"):
        path = aside.with_name(aside.name.removeprefix(".").removesuffix(REPLACED))
        if path.exists():
            shutil.rmtree(aside)
        else:
            aside.replace(path)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint whose files are all there with their hashes; broken ones are reported and passed over."""
    for path in checkpoints(folder):
        problem = defect(path)
        if problem is None:
            return path
        log.warning("%s is passed over: %s", path, problem)
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Committed checkpoints, newest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if NAME.fullmatch(path.name)), reverse=True)


def images_of(path: Path) -> int:
    """The images seen, from a checkpoint's name."""
    return int(path.name.removeprefix("images-"))


def defect(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = read_sealed(path / MANIFEST)
        files, schema = manifest["files"], manifest["schema"]
        if schema != SCHEMA:
            return f"it has schema {schema}, this naruto-add reads {SCHEMA}"
        if manifest.keys() != FIELDS:
            return f"{MANIFEST} is not a checkpoint's"
        wrong = [name for name, (_, sha256) in files.items() if sha256_file(path / name) != sha256]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{', '.join(wrong)} changed since it was written" if wrong else None


def read_state(path: Path) -> TrainState:
    """The training state of a valid checkpoint."""
    return TrainState(**json.loads((path / STATE).read_text(encoding="utf-8")))


class Tensors(Mapping[str, Tensor]):
    """All tensors of a checkpoint by name, read from disk as they are asked for."""

    def __init__(self, path: Path) -> None:
        files = [safe_open(file, framework="pt") for file in sorted(path.glob("*.safetensors"))]
        self._files = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (not a mapping)

    def __getitem__(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

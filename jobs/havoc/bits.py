"""Single bits flipped in shards, checkpoints and bundles, one at a time, and put back."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from jobs.havoc.experiments import Trial
from jobs.havoc.record import Outcome
from jobs.havoc.saving import fill, player
from jobs.havoc.setting import Setting, tiny_base
from naruto_add import artifact
from naruto_add.data import shards
from naruto_add.data.shards import Shards
from naruto_add.errors import UserError
from naruto_add.export.diffusers import write_bundle
from naruto_add.training import checkpoint
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState
from naruto_add.training.world import World


def bits(setting: Setting) -> Trial:
    """A file of one of the three kinds in turn, a bit of it by chance."""
    subjects = {
        "shards": flipped_shards(setting),
        "checkpoints": flipped_checkpoint(setting),
        "bundles": flipped_bundle(setting),
    }

    def trial(number: int) -> Outcome:
        """Flip, look, flip back."""
        kind = list(subjects)[number % len(subjects)]
        folder, look = subjects[kind]
        with flipped(folder, setting.chance("bits", number)) as where:
            problem = look()
        return Outcome(problem and f"{kind}, {where}: {problem}", {f"bits in {kind}": 1})

    return trial


@contextmanager
def flipped(folder: Path, chance: Random) -> Iterator[str]:
    """While inside, one bit of one file in the folder is wrong; gives the file's name, the byte and the bit."""
    path = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size))
    place, bit = chance.randrange(path.stat().st_size), chance.randrange(8)
    turn(path, place, bit)
    try:
        yield f"{path.relative_to(folder)} byte {place} bit {bit}"
    finally:
        turn(path, place, bit)


def turn(path: Path, place: int, bit: int) -> None:
    """Flip it, in place."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ (1 << bit)]))


def flipped_shards(setting: Setting) -> tuple[Path, Callable[[], str]]:
    """`verify` must notice, and reading must give what was there or refuse."""
    made = setting.shards
    whole = content(made.path)

    def look() -> str:
        """What went unnoticed."""
        try:
            if content(made.path) != whole:
                return "other images or captions were read"
        except UserError:
            pass
        return unverified(made.path, "shards")

    return made.path, look


def content(folder: Path) -> str:
    """A hash of all that a reader of shards gets, by a process that has not read them before."""
    shards.members.cache_clear()
    opened, found = Shards(folder), hashlib.sha256()
    for split in shards.SPLITS:
        ids = range(opened.count(split))
        found.update(opened.arrays(split, ids).tobytes())
        found.update(artifact.canonical(opened.metas(split)).encode())
    return found.hexdigest()


def flipped_bundle(setting: Setting) -> tuple[Path, Callable[[], str]]:
    """`verify`, which serving and drawing begin with, must notice."""
    folder = setting.folder / "export" / "bundle"
    folder.parent.mkdir()
    made = artifact.build(
        folder, kind="bundle", config={"export": {"steps": 4, "share": 1e-05}}, parents={"shards": setting.shards},
        make=lambda path: write_bundle(tiny_base(), 4, path),
    )  # fmt: skip
    return made.path, lambda: unverified(made.path, "bundle")


def unverified(folder: Path, kind: str) -> str:
    """Empty, or that opening and hashing have noticed nothing."""
    try:
        artifact.verify(artifact.open_artifact(folder, kind))
    except UserError:
        return ""
    return "not noticed"


def flipped_checkpoint(setting: Setting) -> tuple[Path, Callable[[], str]]:
    """The one before it must be loaded, and the log must say why."""
    folder, players = setting.folder / "work" / "checkpoints", [player("student"), player("heads")]
    for number in (1, 2):
        fill(players, number)
        newest = checkpoint.save(folder, TrainState(0, 4, 4 * number), players, World())
    return newest, lambda: not_passed_over(folder, players)


def not_passed_over(folder: Path, players: list[Player]) -> str:
    """Empty, or what was loaded instead of the first checkpoint, or that nothing was said."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    checkpoint.log.addHandler(handler)
    try:
        state = checkpoint.load(folder, players, World())
    finally:
        checkpoint.log.removeHandler(handler)
    if state is None or state.images != 4:
        return f"loaded {state}"
    return "" if any("is passed over" in text for text in said) else "no message"

"""What a stage may resume from, kept in the storage while it runs: its newest checkpoints, metrics and pictures.

A thread looks at the stage's work folder and sends what is new. Training neither waits for it nor knows of it, and a
storage that is down for a while only delays what it gets. A machine with an empty mirror fetches the newest checkpoint
that is whole before the stage begins.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from naruto_add.artifact import MANIFEST, is_inside
from naruto_add.errors import UserError
from naruto_add.storage import tree
from naruto_add.storage.mirror import store_of
from naruto_add.storage.s3 import Interrupted, Patience, Store
from naruto_add.storage.transfer import Damaged, put

CHECKPOINTS = "checkpoints"
KEEP = 2
"""Checkpoints of a stage in the storage, as on disk."""
ELSEWHERE = (CHECKPOINTS, "ray")
"""Folders of a stage's work that are not sent file by file."""
SENDING = ".sending"
POLL_S = 0.25
FILES_S = 60.0
"""How often metrics and pictures are sent without a new checkpoint."""
PATIENCE = Patience(seconds=20)
"""With each checkpoint, for the next look tries again; a notice to stop must not wait long for it."""

log = logging.getLogger(__name__)


@contextmanager
def kept(run: Path, work: Path) -> Iterator[None]:
    """While inside, what appears in `work` is sent to the run's storage; first what is newer there is fetched."""
    store = store_of(run)
    if store is None:
        yield
        return
    resume(store, run, work)
    with Sender(replace(store, patience=PATIENCE), run, work):
        yield


def resume(store: Store, run: Path, work: Path) -> None:
    """Fetch the newest whole checkpoint unless this machine has it or a later one, and files that it lacks."""
    shutil.rmtree(work / SENDING, ignore_errors=True)
    fresh = fetch_checkpoint(store, run, work)
    root = work.parent.relative_to(run).as_posix()
    for key in store.sizes(f"{root}/"):
        stage, _, name = key.removeprefix(f"{root}/").partition("/")
        if not name or not is_inside(f"{stage}/{name}") or name.partition("/")[0] in ELSEWHERE:
            continue
        path = work.parent / stage / name
        if not path.exists() or (fresh and stage == work.name):
            fetch_file(store, key, path)


def fetch_checkpoint(store: Store, run: Path, work: Path) -> bool:
    """Fetch the newest whole checkpoint that is newer than what is whole here; returns whether there was one."""
    folder = work / CHECKPOINTS
    here = next((name for name in committed(folder) if tree.is_whole(folder / name)), "")
    for name in (name for name, whole in tree.names(store, above(run, work)).items() if whole and name > here):
        manifest = store.read(tree.marker(f"{above(run, work)}/{name}"))
        assert manifest is not None, "its marker has been listed"
        staging = tree.staging(folder / name, manifest)
        try:
            tree.fetch(store, f"{above(run, work)}/{name}", manifest, staging)
        except Damaged as damaged:
            log.warning("%s The checkpoint before it is tried.", damaged)
            continue
        shutil.rmtree(folder / name, ignore_errors=True)
        staging.replace(folder / name)
        return True
    return False


def fetch_file(store: Store, key: str, path: Path) -> None:
    """Fetch a file of metrics or pictures, whole or not at all."""
    content = store.read(key)
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.fetched")
        aside.write_bytes(content)
        aside.replace(path)


def above(run: Path, work: Path) -> str:
    """The key above a stage's checkpoints."""
    return (work / CHECKPOINTS).relative_to(run).as_posix()


def committed(folder: Path) -> list[str]:
    """Names of the checkpoints in a folder, newest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((p.name for p in found if not p.name.startswith(".") and (p / MANIFEST).is_file()), reverse=True)


def drop(run: Path, work: Path) -> None:
    """Remove a finished stage's checkpoints from the storage, where they would cost money for nothing."""
    store = store_of(run)
    if store is not None:
        for name in tree.names(store, above(run, work)):
            tree.remove(store, f"{above(run, work)}/{name}")
        tree.abort(store, f"{above(run, work)}/")


class Sender:
    """Sends a stage's checkpoints, metrics and pictures from a thread of its own while it is entered."""

    def __init__(self, store: Store, run: Path, work: Path) -> None:
        self._store, self._run, self._work = store, run, work
        self._leaving = threading.Event()
        self._sent: bytes | None = None
        self._sent_files: dict[Path, tuple[int, int]] = {}
        self._reached = True
        self._thread = threading.Thread(target=self._watch, name="storage", daemon=True)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Of a stage that was stopped or failed the last checkpoint is still sent; else what is on its way is given up.

        A finished stage needs none, since its artifact follows; a person who presses Ctrl-C does not want to wait.
        """
        broken = kind is not None and not issubclass(kind, KeyboardInterrupt)
        if not broken:
            self._store.stop.set()
        self._leaving.set()
        self._thread.join()
        self._store.stop.clear()
        if broken:
            self._attempt(self.send_checkpoint)
        if broken or kind is None:
            self._attempt(self.send_files)

    def _watch(self) -> None:
        since = time.monotonic()
        while not self._leaving.wait(POLL_S):
            if self._attempt(self.send_checkpoint) or time.monotonic() - since >= FILES_S:
                self._attempt(self.send_files)
                since = time.monotonic()

    def _attempt(self, send: Callable[[], bool]) -> bool:
        """Whether something was sent; a storage that does not take it is reported once, until it does again."""
        try:
            sent = send()
        except (Interrupted, FileNotFoundError):  # what is pruned at this moment: the next look finds the next
            return False
        except UserError as error:
            if self._reached:
                log.warning("%s The stage goes on; what it saves stays in %s until it can be sent.", error, self._work)
            self._reached = False
            return False
        if sent and not self._reached:
            log.warning("%s takes what is sent again.", self._store.place.uri)
            self._reached = True
        return sent

    def send_checkpoint(self) -> bool:
        """Send the newest checkpoint if it is new, and drop old ones; returns whether it was."""
        folder, aside = self._work / CHECKPOINTS, self._work / SENDING
        newest = next(iter(committed(folder)), None)
        manifest = None if newest is None else (folder / newest / MANIFEST).read_bytes()
        if newest is None or manifest == self._sent:
            return False
        second_names(folder / newest, aside)
        tree.send(self._store, f"{above(self._run, self._work)}/{newest}", aside)
        self._sent = manifest
        shutil.rmtree(aside)
        self.prune()
        return True

    def prune(self) -> None:
        """Remove all but the newest checkpoints from the storage, those that never arrived whole among them."""
        found = tree.names(self._store, above(self._run, self._work))
        kept = [name for name, whole in found.items() if whole][:KEEP]
        for name in found:
            if name < kept[-1]:
                tree.remove(self._store, f"{above(self._run, self._work)}/{name}")

    def send_files(self) -> bool:
        """Send the files that have changed and remove those that are gone; returns whether there were any."""
        found = {path: path.stat() for path in files_in(self._work)}
        here = {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}
        changed = [path for path, state in here.items() if self._sent_files.get(path) != state]
        gone = self._sent_files.keys() - here.keys()
        for path in changed:
            put(self._store, path.relative_to(self._run).as_posix(), path.read_bytes())
            self._sent_files[path] = here[path]
        for path in gone:
            self._store.delete(path.relative_to(self._run).as_posix())
            del self._sent_files[path]
        return bool(changed or gone)


def files_in(work: Path) -> list[Path]:
    """Metrics, pictures and what else is neither a checkpoint, nor Ray's, nor half-written."""
    found = (path.relative_to(work) for path in work.rglob("*") if path.is_file())
    return [work / p for p in found if p.parts[0] not in ELSEWHERE and not any(n.startswith(".") for n in p.parts)]


def second_names(folder: Path, aside: Path) -> None:
    """Link a folder's files elsewhere (or copy them, where there are no links), so that they outlive its pruning."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in folder.iterdir():
        try:
            os.link(path, aside / path.name)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copy2(path, aside / path.name)

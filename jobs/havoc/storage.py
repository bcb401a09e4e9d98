"""Disks that fill up in the midst of a stage, folders that are read-only, and a polite request to stop.

Each trial is a command of `naruto-add` in a process of its own on a small file system of its own (tmpfs, which only
root may mount; for others a limit on the size of files and a folder without permission to write). After the trouble
the same command must end with the digest of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.entry import run_verb
from jobs.havoc import lives
from jobs.havoc.experiments import Trial
from jobs.havoc.lives import Doom
from jobs.havoc.record import Outcome
from jobs.havoc.setting import SIZE_PX, Setting
from naruto_add.artifact import open_artifact, read_manifest, verify, write_json
from naruto_add.errors import UserError
from naruto_add.training import loop

STAGES = {"prepare": "shards", "finetune": "teacher", "distill": "student"}
TROUBLES = ("full", "full", "read-only", "stop")
DISK_MB = 96
BALLAST = "ballast"
OTHERS_LIMIT_BYTES = 64 * 2**10
"""Largest file, where nothing can be mounted."""
OPERATIONS, REHEARSAL = "operations", ".rehearsal.json"


@dataclass(frozen=True)
class Disk:
    """A small file system, or a folder that stands in for one."""

    path: Path
    mounted: bool

    def fill(self) -> None:
        """Take all that is left; or forbid files of some size to this process."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (OTHERS_LIMIT_BYTES, OTHERS_LIMIT_BYTES))
            return
        with suppress(OSError), (self.path / BALLAST).open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))

    def free(self) -> None:
        """Give it back."""
        (self.path / BALLAST).unlink(missing_ok=True)

    def lock(self, locked: bool) -> None:
        """Make it read-only, or writable again."""
        if self.mounted:
            subprocess.run(["mount", "-o", f"remount,{'ro' if locked else 'rw'}", self.path], check=True)
        else:
            self.path.chmod(0o500 if locked else 0o700)


def storage(setting: Setting) -> Trial:
    """Stage and trouble in turn; where in the stage it strikes, by chance."""
    disk = disk_for(setting)
    words = words_for(setting)
    places: dict[str, dict[str, int]] = {}
    digests: dict[str, str] = {}

    def rehearse(last: str) -> None:
        """Run all stages up to this one undisturbed, once."""
        for verb, kind in STAGES.items():
            if verb not in places:
                code = lives.ended(lives.start(command, disk, verb, words, "count", None, log=setting.folder / "log"))
                assert code == 0, f"{verb} does not even work undisturbed: {lives.tail(setting.folder / 'log')}"
                places[verb] = json.loads((disk.path / REHEARSAL).read_text())
                digests[kind] = read_manifest(disk.path / "run" / kind).digest
            if verb == last:
                return

    def trial(number: int) -> Outcome:
        """One trouble, and the same command again."""
        verb, trouble = list(STAGES)[number % 3], TROUBLES[number // 3 % len(TROUBLES)]
        if trouble == "stop" and verb == "prepare":
            trouble = "full"
        kind = STAGES[verb]
        rehearse(verb)
        forget(disk.path / "run", kind, verb)
        at = setting.chance("storage", number).randrange(places[verb]["steps" if trouble == "stop" else OPERATIONS])
        log = setting.folder / f"log-{number}"
        first = troubled(disk, verb, words, trouble, at, log)
        kinds = {f"{verb}: {trouble}{'' if disk.mounted else ' (stand-in)'}": 1}
        problem = problem_in(first, log, disk.path / "run" / kind, kind)
        again = lives.ended(lives.start(command, disk, verb, words, "nothing", None, log=log))
        if again != 0 or read_manifest(disk.path / "run" / kind).digest != digests[kind]:
            problem = problem or f"the same command ended with {again} or another digest: {lives.tail(log)}"
        return Outcome(problem and f"{verb}, {trouble} at {at}: {problem}", kinds, {"seconds_to_end": first[1]})

    return trial


def disk_for(setting: Setting) -> Disk:
    """A tmpfs where this process may mount one, unmounted at the end; else a folder."""
    path = setting.folder / "disk"
    path.mkdir()
    options = f"size={DISK_MB}m,mode=700"
    mounted = (
        os.geteuid() == 0 and not subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]).returncode
    )
    if mounted:
        setting.stack.callback(lambda: subprocess.run(["umount", path], check=True))
    return Disk(path, mounted)


def words_for(setting: Setting) -> list[str]:
    """The smoke recipe on the tiny base, in one process."""
    return [
        *("--recipe", "smoke", "--run", str(setting.folder / "disk" / "run"), "--teacher.base", str(setting.base)),
        *("--data.size-px", str(SIZE_PX), "--data.num-images", "16", "--data.num-heldout", "4"),
        *("--distill.head-start", "None", "--compute.launcher", "inline", "--compute.workers", "1"),
    ]


def forget(run: Path, kind: str, verb: str) -> None:
    """Remove a stage's result, and what it would go on from."""
    shutil.rmtree(run / kind, ignore_errors=True)
    for work in (run / ".work").glob(f"{verb}-*"):
        shutil.rmtree(work)


def troubled(disk: Disk, verb: str, words: list[str], trouble: str, at: int, log: Path) -> tuple[int, float]:
    """Run the command into the trouble, then take the trouble away; its exit code and how long it took to end."""
    stamp = disk.path.parent / "struck"
    stamp.unlink(missing_ok=True)
    if trouble == "read-only":
        disk.lock(True)
        stamp.touch()
    process = lives.start(command, disk, verb, words, trouble, at, log=log)
    code, now = lives.ended(process), time.time()
    seconds = now - stamp.stat().st_mtime if stamp.exists() else 0.0
    if trouble == "read-only":
        disk.lock(False)
    disk.free()
    return code, seconds


def command(disk: Disk, verb: str, words: Sequence[str], trouble: str, at: int | None) -> int:
    """In a process: the command, with the trouble at a numbered place; its exit code."""
    stamp = disk.path.parent / "struck"

    def strike(act: Callable[[], None]) -> Callable[[], None]:
        """Note when, then act."""

        def struck() -> None:
            """The trouble."""
            stamp.touch()
            act()

        return struck

    steps = Doom(at if trouble == "stop" else None, strike(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    operations = Doom(at if trouble == "full" else None, strike(disk.fill))

    def notice(event: str, arguments: tuple[object, ...]) -> None:
        """Python's audit hook: only what is opened for writing on the disk counts."""
        if event == "open" and opens_for_writing(arguments, disk.path):
            operations()

    lives.counted(loop, "guarded_step", steps)
    sys.addaudithook(notice)
    code = run_verb(verb, words)
    if trouble == "count":
        write_json(disk.path / REHEARSAL, {"steps": max(1, steps.seen - 1), OPERATIONS: operations.seen})
    return code


def opens_for_writing(arguments: tuple[object, ...], folder: Path) -> bool:
    """Whether these arguments of an `open` create or change a file in the folder (not our ballast)."""
    path, _, flags = arguments
    ours = isinstance(path, str | Path) and str(path).startswith(f"{folder}/") and not str(path).endswith(BALLAST)
    return ours and isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def problem_in(first: tuple[int, float], log: Path, path: Path, kind: str) -> str:
    """What is wrong with how the troubled command ended."""
    code, _ = first
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if code not in (0, 2) or "Traceback" in said:
        return f"exit code {code}: {lives.tail(log, 6)}"
    if code == 2 and "same command" not in said:
        return f"no message: {lives.tail(log)}"
    with suppress(UserError):
        verify(open_artifact(path, kind))
        return ""
    return "something half-written is there" if path.exists() else ""

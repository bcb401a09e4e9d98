"""Folders of hostile images and captions, prepared by the code that prepares everybody's.

Each folder is one process. Its memory is looked at before and after, every item has five seconds of processor time
(then the process is killed, which counts as hanging), and every item must be in the shards or in the quarantine.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from jobs.havoc import hostile, lives
from jobs.havoc.experiments import Trial
from jobs.havoc.record import Outcome
from jobs.havoc.setting import SIZE_PX, Setting
from naruto_add.artifact import write_json
from naruto_add.config import DataConfig
from naruto_add.data import images
from naruto_add.data.images import MAX_BYTES, Reason, Rejected
from naruto_add.data.ingest import Item
from naruto_add.data.prepare import QUARANTINE, check, prepare
from naruto_add.data.prepare import Outcome as Prepared
from naruto_add.data.shards import SPLITS, Shards

ITEMS = 50
SOUND = 8
"""Images that nothing is wrong with: without any, preparing rightly refuses."""
ITEM_LIMIT_S = 5.0
REPORT = "report.json"
HUNG = -signal.SIGPROF
CONFIG = DataConfig(size_px=SIZE_PX, num_images=None, num_heldout=2, max_rejected=1.0)


def mutants(setting: Setting) -> Trial:
    """One folder of `ITEMS` a trial."""

    def trial(number: int) -> Outcome:
        """Write it, prepare it, look at what came of it."""
        place = setting.folder / f"{number:04d}"
        done = written(place / "source", setting.chance("mutants", number))
        process = lives.start(prepare_all, place, log=setting.folder / "log")
        code = lives.ended(process)
        outcome = judged(place, code, done, setting.folder / "log")
        if not outcome.problem:
            shutil.rmtree(place)
        return outcome

    return trial


def written(folder: Path, chance: Random) -> Counter[str]:
    """Write the images with captions beside them; returns what was done, and how often."""
    folder.mkdir(parents=True)
    done: Counter[str] = Counter()
    for number in range(ITEMS):
        mutation, content = hostile.image(chance)
        done[f"image: {mutation}"] += 1
        path = folder / hostile.name(number, chance)
        path.write_bytes(content)
        path.with_suffix(".txt").write_bytes(hostile.caption(chance))
    for number in range(SOUND):
        (folder / f"sound-{number}.png").write_bytes(hostile.encoded(hostile.patterned(number + 1), "PNG"))
        (folder / f"sound-{number}.txt").write_text("a ninja", encoding="utf-8")
    odd_files(folder)
    return done


def odd_files(folder: Path) -> None:
    """What is called an image and is none: a pipe, an endless device, a link to nothing, a folder, a huge file."""
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "nothing.png").symlink_to("nowhere")
    (folder / "folder.png").mkdir()
    with (folder / "huge.bmp").open("wb") as file:
        file.truncate(MAX_BYTES + 1)


def prepare_all(place: Path) -> None:
    """In the process: prepare the folder, then look at its tables; leave a report."""
    config = replace(CONFIG, source=str(place / "source"))
    out = place / "out"
    out.mkdir()
    slowest = [0.0]
    warm_up()
    before = memory_mib("VmRSS")
    prepare(config, 0, out, mapper=timed(slowest))
    growth = memory_mib("VmHWM") - before
    tables(place)
    write_json(place / REPORT, {"slowest_item_s": slowest[0], "memory_growth_mib": growth})


def warm_up() -> None:
    """Decode an image, and one that no decoder knows, after which Pillow has loaded all that it has."""
    images.perceptual_hash(images.square(hostile.encoded(hostile.patterned(), "PNG"), SIZE_PX, 10**6)[0])
    with suppress(Rejected):
        images.square(bytes(64), SIZE_PX, 10**6)


def timed(slowest: list[float]) -> Callable[[Callable[[Item], Prepared], Sequence[Item]], Iterator[Prepared]]:
    """A mapper that gives every item its limit, and remembers the slowest one's seconds of processor time."""

    def mapper(function: Callable[[Item], Prepared], items: Sequence[Item]) -> Iterator[Prepared]:
        """Python's map, one item at a time."""
        for item in items:
            signal.setitimer(signal.ITIMER_PROF, ITEM_LIMIT_S)
            began = time.process_time()
            outcome = function(item)
            slowest[0] = max(slowest[0], time.process_time() - began)
            signal.setitimer(signal.ITIMER_PROF, 0)
            yield outcome

    return mapper


def tables(place: Path) -> None:
    """Put a hostile metadata.jsonl into the folder and have it checked: problems are texts, never exceptions."""
    source, chance = place / "source", Random(place.name)
    names = [path.name for path in source.iterdir() if path.suffix != ".txt"]
    content = hostile.metadata([each for each in names if each.isprintable()], chance)
    for name in ("metadata.jsonl", "metadata.csv"):
        (source / name).write_bytes(content)
        problems = check(replace(CONFIG, source=str(source)))
        assert all(isinstance(text, str) for text in problems)
        (source / name).unlink()


def memory_mib(field: str) -> float:
    """Of this process: `VmRSS` now, `VmHWM` at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def judged(place: Path, code: int, done: Counter[str], log: Path) -> Outcome:
    """Every item must be somewhere, and the process must have ended well."""
    if code == HUNG:
        return Outcome(f"an item took more than {ITEM_LIMIT_S:.0f} s", done)
    if code != 0:
        return Outcome(f"exit code {code}: {lives.tail(log)}", done)
    report: dict[str, Any] = json.loads((place / REPORT).read_text())
    reasons = refused(place / "out")
    kept = [meta["source"] for split in SPLITS for meta in Shards(place / "out").metas(split)]
    done += Counter({"kept": len(kept)})
    done += Counter(f"refused: {reason}" for _, reason, _ in reasons)
    total = ITEMS + SOUND + 4  # the pipe, the device, the link to nothing and the huge file
    if len(kept) + len(reasons) != total:
        return Outcome(f"{total} items, {len(kept)} kept, {len(reasons)} refused", done, report)
    silent = [name for name, reason, detail in reasons if reason not in set(Reason) or not detail]
    return Outcome(f"no reason for {silent}" if silent else "", done, report)


def refused(folder: Path) -> list[list[str]]:
    """The quarantine's rows: item, reason, detail."""
    with (folder / QUARANTINE).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]

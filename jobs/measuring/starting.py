"""New processes: what a command needs before it does anything, and what that time is spent on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from jobs.measuring.alternate import Pair
from jobs.measuring.drawing import student_components
from jobs.measuring.setting import Setting, seconds_of
from naruto_add import artifact
from naruto_add.export.diffusers import write_bundle
from naruto_add.on_ray.train import PROFILE
from naruto_add.training.telemetry import METRICS, last_record

T = TypeVar("T")

ALONE = {
    "Ray": "import ray; ray.init(address='local', include_dashboard=False)",
    "a worker's imports": "import naruto_add.on_ray.workers, deepspeed",
}
IN_THE_WORKER = ("loading models", "encoding images", "building players")
POLL_S = 0.02
GIVE_UP_S = 300.0
FEW = (
    *("--data.num-images", "8", "--data.num-heldout", "4", "--teacher.optim.images", "8"),
    *("--distill.optim.images", "4", "--evaluate.student-steps", "4", "--evaluate.teacher-steps", "1"),
    *("--evaluate.base-steps", "1", "--evaluate.latency-steps", "1"),
)
"""Settings of recipe `smoke` that make a whole run as short as can be."""


def command_help(setting: Setting) -> Pair:
    """Seconds of `naruto-add --help` in a new process."""
    return Pair(lambda: seconds_of(lambda: command(["--help"])))


def first_image(setting: Setting) -> Pair:
    """Seconds of `naruto-add generate` in a new process, imports and loading included."""
    out = setting.folder / "first.png"
    words = ["generate", setting.recipe.prompts[0], "--bundle", str(bundle_of(setting)), "--out", str(out)]
    return Pair(lambda: seconds_of(lambda: command(words)))


def bundle_of(setting: Setting) -> Path:
    """The bundle asked for, or one of the untrained student."""
    if setting.bundle is not None:
        return setting.bundle
    steps = len(setting.recipe.distill.student_timesteps)
    made = artifact.build(
        setting.folder / "bundle",
        kind="bundle",
        config={"export": {"steps": steps}},
        parents={},
        make=lambda folder: write_bundle(student_components(setting), steps, folder),
    )
    return made.path


def warm_run(setting: Setting) -> Pair:
    """Seconds of `naruto-add run` where every stage is current."""
    words = run_words(setting)
    command(words)
    return Pair(lambda: seconds_of(lambda: command(words)), warm=False)


def run_words(setting: Setting) -> list[str]:
    """`naruto-add run` of a few images, in one process."""
    inline = ("--compute.launcher", "inline", "--compute.workers", "1")
    return ["run", *base_words(setting), "--run", str(setting.folder / "run"), *inline]


def base_words(setting: Setting) -> list[str]:
    """Recipe `smoke` on the setting's base, cut short."""
    words = ["--recipe", "smoke", *FEW, "--teacher.base", setting.base]
    own = ["--data.size-px", str(setting.shards.size_px), "--distill.head-start", "None"]
    return words if setting.base == "mini" else [*words, *own]


def first_step(setting: Setting) -> Pair:
    """Seconds of `naruto-add distill` on two Ray workers until its first step is done, and of what comes before."""
    command(run_words(setting))
    seeds, found = count(1), dict[str, float]()

    def ours() -> float:
        found.clear()
        found.update(starting(setting, next(seeds)))
        return sum(found.values())

    return Pair(ours, warm=False, parts=lambda: dict(found))


def starting(setting: Setting, seed: int) -> dict[str, float]:
    """What a distillation of this seed does until its first step is done, in seconds by part."""
    run = setting.folder / "run"
    known, began = set(run.glob(".work/distill-*")), time.time()
    words = ["distill", *only_of_distill(base_words(setting)), "--run", str(run), "--seed", str(seed)]
    with subprocess.Popen(naruto_add(words), stdout=subprocess.DEVNULL) as process:
        work = waited(process, lambda: next(iter({*run.glob(".work/distill-*")} - known), None))
        opened = time.time()
        waited(process, lambda: last_record(work / METRICS))
        done = time.time()
    profile = json.loads((work / PROFILE).read_text(encoding="utf-8"))
    called, seconds = profile["began"], profile["seconds"]
    before = {name: seconds[name] for name in IN_THE_WORKER}
    parts = {"command and checks": opened - began, **until_called(called - opened), **before}
    return parts | {"first step": done - called - sum(before.values())}


def until_called(seconds: float) -> dict[str, float]:
    """What is known of the time until a worker is called: starting Ray and a worker's imports, measured alone."""
    alone = {name: seconds_of(partial(python, code)) for name, code in ALONE.items()}
    return alone | {"workers and their process group": max(0.0, seconds - sum(alone.values()))}


def only_of_distill(words: list[str]) -> list[str]:
    """Without the settings of other stages, which `distill` would warn of."""
    pairs = zip(words[::2], words[1::2], strict=True)
    return [word for pair in pairs if pair[0].startswith(("--recipe", "--distill")) for word in pair]


def waited(process: subprocess.Popen[bytes], found: Callable[[], T | None]) -> T:
    """What `found` gives as soon as that is something."""
    until = time.monotonic() + GIVE_UP_S
    while (result := found()) is None:
        assert process.poll() in (None, 0) and time.monotonic() < until, "the command ended before its first step"
        time.sleep(POLL_S)
    return result


def command(words: list[str]) -> None:
    """Run the command line in a new process."""
    subprocess.run(naruto_add(words), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def python(code: str) -> None:
    """Run some lines in a new process."""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def naruto_add(words: list[str]) -> list[str]:
    """The command line in a new process."""
    return [sys.executable, "-m", "naruto_add", *words]

"""A distillation under Ray Train on two workers, one of which is killed five times in every run.

Before that the driver of the first run is killed, and its Ray with it; what follows is the same command once more.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from jobs.havoc import lives
from jobs.havoc.experiments import Trial
from jobs.havoc.record import Outcome
from jobs.havoc.runs import ORDER, bits_of, job_of, note_order
from jobs.havoc.setting import Setting
from naruto_add.config import ComputeConfig
from naruto_add.on_ray import cluster, train
from naruto_add.on_ray.job import Job
from naruto_add.on_ray.workers import distill_worker
from naruto_add.training.pace import total_images
from naruto_add.training.world import World

COMPUTE = ComputeConfig(launcher="ray", workers=2, cpus_per_worker=0.5, threads_per_worker=1, zero_stage=2)
KILLS = train.MAX_FAILURES + 2
"""Of a run: more than Ray is told to bear."""
PIDS = "pids"
LINES = (8, 14)
"""Written by both workers from a recovery to the next kill: time for a checkpoint to become whole, or Ray, which bears
no more than `MAX_FAILURES` failures without one, gives up."""
DRIVER_STEPS = 6
"""Lines written by both workers until their driver is killed."""
POLL_S = 0.05


def workers(setting: Setting) -> Trial:
    """One run a trial, beside an undisturbed one."""
    import ray

    cluster.start(COMPUTE)
    setting.stack.callback(ray.shutdown)
    optim = replace(setting.recipe.distill.optim, images=160, accumulation=1)
    recipe = replace(setting.recipe, compute=COMPUTE, distill=replace(setting.recipe.distill, optim=optim))

    def run(name: str, chance: Random | None) -> tuple[dict[str, str], list[float]]:
        """What the run ends with, and after how many seconds each kill was followed by a step."""
        place = setting.folder / name
        killer = Killer(place, chance)
        killer.start()
        plain = job_of(setting, place, recipe)
        drive(plain, name)
        killer.over.set()
        found = bits_of(place)
        shutil.rmtree(place)
        return found, killer.seconds

    wanted, _ = run("undisturbed", None)

    def trial(number: int) -> Outcome:
        """One run with its kills."""
        drivers = int(number == 0)
        if drivers:
            kill_a_driver(setting.folder / f"run-{number}", job_of(setting, setting.folder / f"run-{number}", recipe))
        found, seconds = run(f"run-{number}", setting.chance("workers", number))
        kinds = {"workers killed": len(seconds), "drivers killed": drivers}
        if len(seconds) < KILLS:
            return Outcome(f"only {len(seconds)} kills were followed by a step", kinds)
        problem = "" if found == wanted and wanted else "it ends with other bits"
        return Outcome(problem, kinds, {"seconds_to_next_step": max(seconds)})

    return trial


def drive(plain: dict[str, Any], name: str) -> None:
    """Train in workers that say who they are."""
    optim = Job.from_plain(plain).recipe.distill.optim
    train.run(COMPUTE, mortal, plain, name, Path(plain["work"]), total_images(optim))


def kill_a_driver(place: Path, plain: dict[str, Any]) -> None:
    """Start a run in a process with a Ray of its own and kill that once training has begun; wait until all is still."""
    driver, killer = lives.start(drive, plain, "killed"), Killer(place, None)
    while killer.steps() < DRIVER_STEPS and driver.is_alive():
        time.sleep(POLL_S)
    driver.kill()
    assert lives.ended(driver) == lives.KILLED, "the driver ended by itself"
    seen = -1
    while seen < (seen := killer.settled()):
        continue


def mortal(plain: dict[str, Any]) -> None:
    """In a worker: say which process this is, then train."""
    place = Path(plain["work"])
    (place / PIDS).mkdir(exist_ok=True)
    (place / PIDS / str(World.current().rank)).write_text(str(os.getpid()))
    note_order(place / ORDER)
    distill_worker(plain)


class Killer(threading.Thread):
    """Kills a worker some steps after the last recovery, as often as it may; without chance it does nothing."""

    def __init__(self, place: Path, chance: Random | None) -> None:
        super().__init__(daemon=True)
        self.place, self.chance = place, chance
        self.seconds: list[float] = []
        self.over = threading.Event()
        """Set when the run has ended."""

    def run(self) -> None:
        """Kill as often as it may."""
        while self.chance is not None and len(self.seconds) < KILLS and self.kill_one(self.chance):
            continue

    def kill_one(self, chance: Random) -> bool:
        """Wait for some steps, kill, wait for the next step; False if the run ended before."""
        if not self.waited_for(self.steps() + chance.randrange(*LINES)):
            return False
        pid = int((self.place / PIDS / str(chance.randrange(COMPUTE.workers))).read_text())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        began, seen = time.monotonic(), self.settled()
        if not self.waited_for(seen + 1):
            return False
        self.seconds.append(time.monotonic() - began)
        return True

    def settled(self) -> int:
        """The number of lines once the other worker has noticed, too."""
        time.sleep(1)
        return self.steps()

    def steps(self) -> int:
        """Lines written by both workers."""
        path = self.place / ORDER
        return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0

    def waited_for(self, steps: int) -> bool:
        """Wait until so many lines are there; False if the run has ended before."""
        while self.steps() < steps:
            if self.over.wait(POLL_S):
                return False
        return True

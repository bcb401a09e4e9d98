"""A run of ADD, two micro-batches a step, killed at every place where one thing is done and the next is not."""

from __future__ import annotations

import shutil
from typing import Any

from jobs.havoc import lives
from jobs.havoc.experiments import Trial
from jobs.havoc.lives import KILLED, Doom
from jobs.havoc.record import Outcome
from jobs.havoc.runs import batches_of, bits_of, distill, job_of, order_of
from jobs.havoc.setting import Setting
from naruto_add.training import loop
from naruto_add.training.player import Player

PLACES = ("before a step", "student, 1st micro-batch", "student, 2nd", "heads, 1st", "heads, 2nd", "student's update",
          "heads' update")  # fmt: skip
"""Of each step, in order: where the process dies before the thing is done."""


def resume(setting: Setting) -> Trial:
    """Killed before event number `number`, then run again to its end."""
    undisturbed = setting.folder / "undisturbed"
    log = setting.folder / "log"
    code = lives.ended(lives.start(distill, job_of(setting, undisturbed), log=log))
    assert code == 0, f"the run does not even work undisturbed: {lives.tail(log)}"
    wanted, batches = bits_of(undisturbed), batches_of(order_of(undisturbed))
    assert len(wanted) >= 3

    def trial(number: int) -> Outcome:
        """One death, one resumption."""
        place = setting.folder / f"{number:04d}"
        plain, event = job_of(setting, place), number % (len(batches) * len(PLACES))
        kinds = {f"killed before: {PLACES[event % len(PLACES)]}": 1}
        codes = [
            lives.ended(lives.start(distill_until, plain, event, log=log)),
            lives.ended(lives.start(distill, plain, log=log)),
        ]
        if codes != [KILLED, 0]:
            return Outcome(f"exit codes {codes}: {lives.tail(log)}", kinds)
        found, order = bits_of(place), batches_of(order_of(place))
        differing = [name for name in wanted if found.get(name) != wanted[name]]
        shutil.rmtree(place)
        if order != batches:
            return Outcome("the order of data is another", kinds)
        return Outcome(f"{', '.join(differing)} differ" if differing or found.keys() != wanted.keys() else "", kinds)

    return trial


def distill_until(plain: dict[str, Any], event: int) -> int:
    """In a process: train, and die before this event."""
    doom = Doom(event)
    for name in ("backward", "step"):
        lives.counted(Player, name, doom)
    lives.counted(loop, "guarded_step", doom)
    return distill(plain)

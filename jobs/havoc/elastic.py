"""The same run on 1, 2 and 4 workers (gloo, one process each), and with their number changed in mid-run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.havoc import lives
from jobs.havoc.experiments import Trial
from jobs.havoc.record import Outcome
from jobs.havoc.runs import batches_of, distill, job_of, join, once_an_epoch, order_of
from jobs.havoc.setting import Setting
from naruto_add.training import loop
from naruto_add.training.guards import STOP
from naruto_add.training.telemetry import BOOKKEEPING, METRICS

GANGS = ((1, 2, 4), (4, 2, 1), (2,), (4,), (2, 4, 1), (4, 1, 2))
"""Numbers of workers, one after the other in the same run."""
RATE = 1e-4
"""Of `mini`. At ten times that Adam's first updates, which have the size of the rate whatever the gradient's, make of
two sums in another order two paths: what is compared is the arithmetic, in float32, not how fast rounding grows."""


def elastic(setting: Setting) -> Trial:
    """Each trial a sequence of gangs, beside one worker from beginning to end."""
    optim = replace(setting.recipe.distill.optim, accumulation=1, learning_rate=RATE)
    distillation = replace(setting.recipe.distill, optim=optim, heads_learning_rate=RATE)
    recipe = replace(setting.recipe, distill=distillation, compute=replace(setting.recipe.compute, precision="fp32"))
    alone = setting.folder / "alone"
    assert lives.ended(lives.start(distill, job_of(setting, alone, recipe))) == 0
    wanted, batches = losses_of(alone), batches_of(order_of(alone))
    assert once_an_epoch(batches, 16) and len(batches) == optim.images // optim.batch_size

    def trial(number: int) -> Outcome:
        """One run on changing gangs."""
        place, gangs = setting.folder / f"{number:04d}", GANGS[number % len(GANGS)]
        plain, kinds = job_of(setting, place, recipe), {" then ".join(map(str, gangs)) + " workers": 1}
        for turn, size in enumerate(gangs):
            last = turn == len(gangs) - 1
            stop_at = None if last else optim.batch_size * len(batches) * (turn + 1) // len(gangs)
            codes = gang(plain, size, stop_at, f"meeting-{turn}")
            if set(codes) != {0 if last else 2}:
                return Outcome(f"{size} workers ended with {codes}: {lives.tail(place / 'log')}", kinds)
        found = losses_of(place)
        if batches_of(order_of(place)) != batches:
            return Outcome("other global batches", kinds)
        if found.keys() != wanted.keys():
            return Outcome(f"steps {sorted(found)} instead of {sorted(wanted)}", kinds)
        worst = max(unlike(found[step][name], wanted[step][name]) for step in wanted for name in wanted[step])
        return Outcome("", kinds, {"loss_difference": worst})

    return trial


def gang(plain: dict[str, Any], size: int, stop_at: int | None, meeting: str) -> list[int]:
    """Train with `size` workers until the end, or until they are asked to stop; their exit codes."""
    place = Path(plain["work"])
    (place / STOP).unlink(missing_ok=True)
    workers = [lives.start(member, plain, rank, size, stop_at, meeting, log=place / "log") for rank in range(size)]
    return [lives.ended(worker) for worker in workers]


def member(plain: dict[str, Any], rank: int, size: int, stop_at: int | None, meeting: str) -> int:
    """In a process: one worker; rank 0 asks all to stop before the step that reaches `stop_at` images."""
    place = Path(plain["work"])
    join(place, rank, size, meeting)
    whole = loop.guarded_step

    def step(method: Any, batch: Any, state: Any, world: Any) -> dict[str, float]:
        """The step, and the request."""
        if world.leads and stop_at is not None and state.images_after >= stop_at:
            (place / STOP).touch()
        return whole(method, batch, state, world)

    loop.guarded_step = step
    return distill(plain)


def unlike(first: float, second: float) -> float:
    """How far two losses are apart: of their size where that is above 1."""
    return abs(first - second) / max(1.0, abs(second))


def losses_of(place: Path) -> dict[int, dict[str, float]]:
    """All losses and logits by images seen; the norms of gradients are none."""
    lines = (place / METRICS).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    left_out = (*BOOKKEEPING, "student_grad_norm", "heads_grad_norm")
    return {r["images"]: {name: value for name, value in r.items() if name not in left_out} for r in records}

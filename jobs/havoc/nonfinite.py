"""NaN, infinities and overflow put into one step of ADD, wherever numbers pass, on one worker and on two."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jobs.havoc import lives
from jobs.havoc.experiments import Trial
from jobs.havoc.record import Outcome
from jobs.havoc.runs import job_of, join
from jobs.havoc.setting import Setting
from naruto_add.artifact import write_json
from naruto_add.data.batch import Batch
from naruto_add.distill import Add
from naruto_add.on_ray.workers import distill_worker
from naruto_add.training import loop
from naruto_add.training.guards import TrainingStopped
from naruto_add.training.method import Method
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState
from naruto_add.training.world import World

VALUES = (math.nan, math.inf)
OVERFLOW = 1e25
"""Finite, but the norm that gradients are clipped by is not."""
IN_BATCH = ("latents", "text", "pooled", "pixels")
PLACES = (*IN_BATCH, "student", "teacher", "features", "heads", "student loss", "heads loss", "student gradient",
          "heads gradient", "student overflow", "heads overflow")  # fmt: skip
AT = 4
"""The second step: after one that went well."""


def nonfinite(setting: Setting) -> Trial:
    """Place, value and number of workers in turn."""
    optim = replace(setting.recipe.distill.optim, accumulation=1, checkpoint_images=24, preview_images=24)
    recipe = replace(setting.recipe, distill=replace(setting.recipe.distill, optim=optim))

    def trial(number: int) -> Outcome:
        """One run that must stop."""
        where, value = PLACES[number % len(PLACES)], VALUES[number // len(PLACES) % len(VALUES)]
        size = 1 + (number // len(PLACES) + number) % 2
        place, bad = setting.folder / f"{number:04d}", setting.chance("nonfinite", number).randrange(size)
        plain, log = job_of(setting, place, recipe), place / "log"
        workers = [lives.start(poisoned, plain, rank, size, bad, where, value, log=log) for rank in range(size)]
        codes = [lives.ended(worker) for worker in workers]
        kinds = {f"{where}, {size} workers": 1}
        if set(codes) != {0}:
            return Outcome(f"{where} {value}: exit codes {codes}: {lives.tail(log)}", kinds)
        reports = [json.loads((place / f"report-{rank}.json").read_text()) for rank in range(size)]
        problem = problem_in(reports, reports[bad]["ids"])
        shutil.rmtree(place)
        return Outcome(problem and f"{where} {value} on worker {bad} of {size}: {problem}", kinds)

    return trial


def problem_in(reports: list[dict[str, Any]], ids: list[int]) -> str:
    """What is wrong with how the workers stopped; empty: nothing."""
    for report in reports:
        if f"not finite at image {AT}" not in report["message"]:
            return f"not stopped there: {report['message'] or 'not at all'}"
        if report["updated"]:
            return f"updated all the same: {', '.join(report['updated'][:3])}"
        if not all(str(number) in report["message"] for number in ids):
            return f"samples {ids} are not named in: {report['message']}"
    return ""


def poisoned(plain: dict[str, Any], rank: int, size: int, bad: int, where: str, value: float) -> None:
    """In a process: train, meet the number in the second step if this is the worker, report how it ended."""
    place = Path(plain["work"])
    join(place, rank, size, "meeting")
    victim = Victim(where, value if rank == bad else None)
    victim.lie_in_wait()
    message = ""
    try:
        distill_worker(plain)
    except TrainingStopped as stopped:
        message = str(stopped)
    report = {"message": message, "updated": victim.updated(), "ids": victim.ids}
    write_json(place / f"report-{rank}.json", report)


class Victim:
    """A training process into whose second step a number is put; None: it only remembers what it was before it."""

    def __init__(self, where: str, value: float | None) -> None:
        self.where, self.value = where, value
        self.ids: list[int] = []
        self.players: list[Player] = []
        self.before: dict[str, Tensor] = {}

    def lie_in_wait(self) -> None:
        """Watch the steps of the loop."""
        whole = loop.guarded_step

        def step(method: Method, batch: Batch, state: TrainState, world: World) -> dict[str, float]:
            """The step, poisoned at its time."""
            if state.images == AT:
                self.players, self.ids = list(method.players.values()), batch.ids
                self.before = self.everything()
                if self.value is not None:
                    assert isinstance(method, Add)
                    batch = self.spoil(method, batch, self.value)
            return whole(method, batch, state, world)

        loop.guarded_step = step

    def everything(self) -> dict[str, Tensor]:
        """All that an update changes; the heads' spectral norms go on with every look at an image."""
        return {n: t.clone() for player in self.players for n, t in player.tensors() if not is_buffer(player, n)}

    def updated(self) -> list[str]:
        """What the spoilt step has changed all the same."""
        now = self.everything()
        return [name for name, tensor in self.before.items() if not torch.equal(now[name], tensor)]

    def spoil(self, method: Add, batch: Batch, value: float) -> Batch:
        """Put the value where it belongs; returns the batch, spoilt or not."""
        if self.where in IN_BATCH:
            return spoilt_batch(batch, self.where, value)
        who, _, what = self.where.partition(" ")
        if what == "loss":
            spoil_loss(method.players[who], value)
            return batch
        modules = {"teacher": method.judges.teacher, "features": method.judges.features}
        module = method.players[who].module if who in method.players else modules[who]
        assert module is not None
        factor = OVERFLOW if what == "overflow" else value
        module.register_forward_hook(
            on_output((lambda x: scaled_gradient(x, factor)) if what else (lambda x: spoilt(x, value)))
        )
        return batch


def is_buffer(player: Player, name: str) -> bool:
    """Whether a tensor of `player.tensors()` is a buffer of the module that learns."""
    kind, _, rest = name.removeprefix(f"{player.name}/").partition("/")
    return kind == "weights" and rest not in player.parameters


def spoilt_batch(batch: Batch, name: str, value: float) -> Batch:
    """The batch with the value in one of its tensors."""
    changed: dict[str, Any] = {name: spoilt(getattr(batch, name), value)}
    return replace(batch, **changed)


def spoil_loss(player: Player, value: float) -> None:
    """Its next losses are the value."""
    whole = player.backward
    player.backward = lambda loss: whole(loss * value)  # type: ignore[method-assign]


def on_output(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Any, Any], Any]:
    """A forward hook that changes the first tensor of a module's output."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        """A tensor, a list of them, or a UNet's answer."""
        if isinstance(output, Tensor):
            return change(output)
        if isinstance(output, list):
            return [change(output[0]), *output[1:]]
        return type(output)(sample=change(output.sample))

    return hook


def spoilt(tensor: Tensor, value: float) -> Tensor:
    """The tensor with the value in one place."""
    changed = tensor.clone()
    changed[(0,) * changed.ndim] = value
    return changed


def scaled_gradient(tensor: Tensor, factor: float) -> Tensor:
    """The same tensor; what flows back through it is multiplied."""
    if tensor.requires_grad:
        tensor.register_hook(lambda gradient: gradient * factor)
    return tensor

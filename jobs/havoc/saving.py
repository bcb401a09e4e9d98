"""SIGKILL inside the saving of checkpoints: before every file operation that Python sees, and at any other moment.

A process saves, again and again, players whose every number tells which save it belongs to. After its death what lies
there is loaded: it must be the last save that was finished or the one that was being written, and saving must go on.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import torch

from jobs.havoc import lives
from jobs.havoc.experiments import Trial
from jobs.havoc.lives import KILLED, Doom
from jobs.havoc.record import Outcome
from jobs.havoc.setting import Setting
from naruto_add.artifact import write_json
from naruto_add.config import OptimConfig
from naruto_add.training import checkpoint
from naruto_add.training.player import Player
from naruto_add.training.saver import Saver
from naruto_add.training.state import TrainState
from naruto_add.training.world import World

OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "shutil.rmtree")
"""Audit events that are a file operation; fsync, which raises none, is counted apart."""
SAVES = [TrainState(0, 4, images, rollbacks=rollbacks) for images, rollbacks in ((4, 0), (8, 0), (8, 1), (12, 1))]
"""What is saved, in order; the third has the name of the second, as after a rollback."""
SHAPE = (256, 512)
OPTIM = OptimConfig(images=64, batch_size=4, learning_rate=1e-3)
BEGUN, FINISHED, REHEARSAL = "begun", "finished", "rehearsal.json"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def saving(setting: Setting) -> Trial:
    """Every second trial kills before a numbered operation, the others after a drawn delay."""
    folder = setting.folder / "rehearsal"
    assert lives.ended(lives.start(rehearse, folder)) == 0, "saving does not even work undisturbed"
    found = json.loads((folder / REHEARSAL).read_text())

    def trial(number: int) -> Outcome:
        """One death and what is left."""
        place = setting.folder / f"{number:04d}"
        if number % 2:
            kind = "after a delay"
            code = killed_within(place, setting.chance("saving", number).uniform(0, found["seconds"]))
        else:
            kind = "before an operation"
            code = lives.ended(lives.start(save_until, place, number // 2 % found["operations"]))
        outcome = judged(place, kind, code)
        shutil.rmtree(place)
        return outcome

    return trial


def rehearse(folder: Path) -> None:
    """Save undisturbed; leave the number of operations and the seconds that they took."""
    began = time.monotonic()
    operations = save_all(folder, None)
    write_json(folder / REHEARSAL, {"operations": operations, "seconds": time.monotonic() - began})


def save_until(folder: Path, last: int | None) -> None:
    """As `save_all`, whose number would be taken for an exit code."""
    save_all(folder, last)


def save_all(folder: Path, last: int | None) -> int:
    """Save everything; die before operation number `last` (None: not at all). Returns the number of operations."""
    folder.mkdir(parents=True, exist_ok=True)
    doom, open_doors = Doom(last), [False]

    def notice(event: str, arguments: tuple[object, ...]) -> None:
        """Python's audit hook."""
        if open_doors[0] and event in OPERATIONS:
            doom()

    players = [player("student"), player("heads")]
    lives.counted(os, "fsync", doom)
    sys.addaudithook(notice)
    saver = Saver(folder / "checkpoints", World())
    (folder / BEGUN).touch()
    for number, state in enumerate(SAVES):
        fill(players, number)
        open_doors[0] = True
        saver.save(state, players)
        saver.finish()
        open_doors[0] = False
        with (folder / FINISHED).open("a") as file:
            file.write(f"{number}\n")
    return doom.seen


def killed_within(folder: Path, seconds: float) -> int:
    """Let a process save and kill it so long after its begin, or sooner if it ends before; returns its exit code."""
    code = killed_after(folder, seconds)
    while code == 0:
        shutil.rmtree(folder)
        seconds *= 0.8
        code = killed_after(folder, seconds)
    return code


def killed_after(folder: Path, seconds: float) -> int:
    """Let a process save, kill it so long after its begin; returns its exit code."""
    process = lives.start(save_until, folder, None)
    while not (folder / BEGUN).exists() and process.is_alive():
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    return lives.ended(process)


def judged(folder: Path, kind: str, code: int) -> Outcome:
    """What a process that comes after finds, and whether it can go on."""
    finished = len((folder / FINISHED).read_text().splitlines()) if (folder / FINISHED).exists() else 0
    kinds = {f"killed {kind}": 1}
    players = [player("student"), player("heads")]
    state = checkpoint.load(folder / "checkpoints", players, World())
    found = -1 if state is None else SAVES.index(state)
    lost = {"intervals_lost": float(max(0, finished - 1 - found))}
    if code != KILLED:
        return Outcome(f"it ended with exit code {code} instead of being killed", kinds, lost)
    if not finished - 1 <= found <= finished:
        return Outcome(f"{finished} saves were finished, save {found + 1} was found", kinds, lost)
    if state is not None and not all_are(players, found):
        return Outcome(f"the tensors are not those of save {found + 1}", kinds, lost)
    fill(players, 9)
    checkpoint.save(folder / "checkpoints", TrainState(0, 4, 16), players, World())
    after = checkpoint.load(folder / "checkpoints", players, World())
    went_on = after is not None and after.images == 16 and all_are(players, 9)
    return Outcome("" if went_on else "saving did not go on", kinds, {"intervals_lost": float(finished > found + 1)})


def player(name: str) -> Player:
    """One with weights, average and optimizer state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Player(name, torch.nn.Linear(*SHAPE), OPTIM)


def fill(players: list[Player], number: int) -> None:
    """Set every number of every player."""
    for each in players:
        tensors = {name: torch.full_like(tensor, number) for name, tensor in each.tensors()}
        for name, parameter in each.parameters.items():
            shapes = ((), parameter.shape, parameter.shape)
            for moment, shape in zip(MOMENTS, shapes, strict=True):
                tensors[f"{each.name}/optimizer/{name}/{moment}"] = torch.full(shape, float(number))
        each.load(tensors)


def all_are(players: list[Player], number: int) -> bool:
    """Whether every number of every player is this one."""
    tensors = [tensor for each in players for _, tensor in each.tensors()]
    return len(tensors) == 20 and all(bool((tensor == number).all()) for tensor in tensors)

"""Checkpoints of a distillation: what they cost, and what a step waits for one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from jobs.measuring.alternate import Pair
from jobs.measuring.setting import Setting, seconds_of
from jobs.measuring.training import Repeating, add_method, under_the_loop
from naruto_add.training.method import Method
from naruto_add.training.saver import Saver
from naruto_add.training.state import TrainState
from naruto_add.training.world import World


def share(setting: Setting) -> Pair:
    """Percent of an ADD training's time that the recipe's checkpoints would take if nothing went on beside them."""
    method, batch = add_method(setting)
    interval = setting.recipe.distill.optim.checkpoint_images

    def ours() -> float:
        images_a_second = under_the_loop(method, Repeating(batch), setting.folder)
        return 100 * sum(saved(method, setting.folder)) * images_a_second / interval

    return Pair(ours)


def wait(setting: Setting) -> Pair:
    """Seconds until training may go on, beside those until the checkpoint is whole."""
    method, batch = add_method(setting)
    under_the_loop(method, Repeating(batch), setting.folder)  # optimizers have their state from the first step on
    return Pair(lambda: saved(method, setting.folder)[0], lambda: sum(saved(method, setting.folder)))


def saved(method: Method, folder: Path) -> tuple[float, float]:
    """Save all that training resumes from: the seconds of the copies, and of writing them."""
    state, players = TrainState(0, 1, 1), list(method.players.values())
    with tempfile.TemporaryDirectory(dir=folder) as place, Saver(Path(place), World()) as saver:
        return seconds_of(lambda: saver.save(state, players)), seconds_of(saver.finish)

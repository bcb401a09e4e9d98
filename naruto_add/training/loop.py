"""The training loop: the table of contents of this package."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from naruto_add.config import OptimConfig
from naruto_add.data.batch import Feed
from naruto_add.training import checkpoint, previews
from naruto_add.training.guards import StopRequest, check_collapse, guarded_step, stopped
from naruto_add.training.method import Method
from naruto_add.training.pace import crossed, total_images
from naruto_add.training.state import TrainState
from naruto_add.training.telemetry import Reporter
from naruto_add.training.world import World

log = logging.getLogger(__name__)


def train(
    method: Method,
    feed: Feed,
    optim: OptimConfig,
    folder: Path,
    reporter: Reporter,
    seed: int,
    world: World,
    prompts: Sequence[str] = (),
    collapse_gap: float = math.inf,
) -> TrainState:
    """Train until `optim.images`, from the newest valid checkpoint in `folder` if there is one.

    Called by all ranks with equal arguments (only rank 0's reporter need say anything). Stopped after any step and
    called again, it ends with the same weights as if it had never stopped. Raises TrainingStopped.
    """
    players = list(method.players.values())
    state = checkpoint.load(folder / "checkpoints", players, world) or TrainState(seed, optim.batch_size)
    total = total_images(optim)
    with StopRequest(folder) as stop, reporter.started(state.images, total):
        if world.leads and state.images == 0:
            previews.draw(method, prompts, folder, state.images)
        for batch in reporter.waited(feed.batches(state.images, total)):
            before, losses = state.images, guarded_step(method, batch, state, world)
            state = state.after(losses)
            reporter.log(state, losses)
            check_collapse(state, collapse_gap)
            stopping = world.any(stop.requested)
            if world.leads and (crossed(optim.preview_images, before, state.images) or state.images == total):
                previews.draw(method, prompts, folder, state.images)
            if stopping or crossed(optim.checkpoint_images, before, state.images) or state.images == total:
                checkpoint.save(folder / "checkpoints", state, players, world)
            if stopping and state.images < total:
                raise stopped(state)
    return state

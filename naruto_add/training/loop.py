"""The training loop: the table of contents of this package."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from naruto_add.config import OptimConfig
from naruto_add.data.batch import Feed
from naruto_add.training import checkpoint, previews
from naruto_add.training.guards import StopRequest, guarded_step, stopped
from naruto_add.training.method import Method, Probe
from naruto_add.training.pace import crossed, total_images
from naruto_add.training.rollback import roll_back
from naruto_add.training.saver import Saver
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
    until: int | None = None,
    probe: Probe | None = None,
) -> TrainState:
    """Train until `optim.images`, from the newest valid checkpoint in `folder` if there is one.

    Called by all ranks with equal arguments (only rank 0's reporter need say anything). Stopped after any step and
    called again, it ends with the same weights as if it had never stopped. A collapse (a running logit gap above
    `collapse_gap`) sets it back to its last checkpoint, see `rollback`. Raises TrainingStopped.

    With `until` it pauses there: saved, to be called again. What a `probe` finds goes into the log.
    """
    players = list(method.players.values())
    saved = folder / "checkpoints"
    state = checkpoint.load(saved, players, world) or TrainState(seed, optim.batch_size)
    total = total_images(optim)
    end = total if until is None else min(until, total)
    assert end % optim.batch_size == 0, f"training cannot pause in the middle of a step, at image {end}"
    with StopRequest(folder) as stop, reporter.started(state.images, total), Saver(saved, world) as saver:
        if world.leads and state.images == 0:
            previews.draw(method, prompts, folder, state.images)
        while state.images < end:
            for batch in reporter.waited(feed.batches(state.images, end)):
                before, losses = state.images, guarded_step(method, batch, state, world)
                state = state.after(losses)
                saver.advance()
                if probe is not None and (crossed(probe.every, before, state.images) or state.images == end):
                    with reporter.paused():
                        losses |= probe.measure(finished=state.images == total)
                reporter.log(state, losses)
                if state.logit_gap > collapse_gap:
                    saver.finish()
                    state = roll_back(state, losses, collapse_gap, folder, players, world)
                    reporter.rewind(state.images)
                    break  # the feed starts again there
                stopping = world.any(stop.requested)
                if world.leads and (crossed(optim.preview_images, before, state.images) or state.images == total):
                    previews.draw(method, prompts, folder, state.images)
                if stopping or crossed(optim.checkpoint_images, before, state.images) or state.images == end:
                    saver.save(state, players)
                if stopping and state.images < end:
                    raise stopped(state)
    return state

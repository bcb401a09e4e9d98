"""The health gate of adversarial training: a run whose discriminator wins goes back to its last checkpoint, calmer.

A collapse is deterministic: the same weights on the same batches would collapse again. So the state that training goes
on from tells of its rollbacks, and the method draws its heads anew and slows them (the checkpoint's may have been about
to win). That state is saved at once, so that a run killed afterwards resumes the calmer way.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from naruto_add.training import checkpoint, previews
from naruto_add.training.guards import TrainingStopped
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState
from naruto_add.training.world import World

MOST = 3
"""Rollbacks of a run; then it is stopped."""
COLLAPSES = "collapses.jsonl"
"""One line for every collapse: where, how far back, and the step's numbers, which the metrics lose."""

log = logging.getLogger(__name__)


def roll_back(
    state: TrainState,
    losses: Mapping[str, float],
    collapse_gap: float,
    folder: Path,
    players: Sequence[Player],
    world: World,
) -> TrainState:
    """Set the players back to the newest valid checkpoint in `folder`; returns its state with one rollback more.

    Called by all ranks. Raises TrainingStopped if there is no checkpoint, or there were `MOST` rollbacks before.
    """
    reason = (
        f"collapse at image {state.images}: the discriminator tells real from fake with a mean logit gap of "
        f"{state.logit_gap:.1f} (limit {collapse_gap}), so the student learns nothing from it any more"
    )
    good = checkpoint.load(folder / "checkpoints", players, world) if state.rollbacks < MOST else None
    if world.leads:
        note(folder, state, losses, good)
    if good is None:
        tried = f"{state.rollbacks} rollbacks have not helped" if state.rollbacks else "No checkpoint to go back to"
        raise TrainingStopped(
            f"{reason}. {tried}. Lower distill.heads_learning_rate or distill.heads_steps, or raise "
            "distill.collapse_gap."
        )
    calmer = replace(good, logit_gap=0.0, rollbacks=state.rollbacks + 1, rolled_back_to=good.images)
    checkpoint.save(folder / "checkpoints", calmer, players, world)
    if world.leads:
        previews.forget_after(folder, calmer.images)
        log.warning("%s. Back to image %d, with new and slower heads.", reason, calmer.images)
    return calmer


def note(folder: Path, state: TrainState, losses: Mapping[str, float], good: TrainState | None) -> None:
    """Add one line to `collapses.jsonl`."""
    back_to = None if good is None else good.images
    line = {"images": state.images, "back_to": back_to, "rollbacks": state.rollbacks, "running_gap": state.logit_gap}
    with (folder / COLLAPSES).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, **losses}) + "\n")

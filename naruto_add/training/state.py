"""What must survive an interruption beside the players: where training stands, in images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

GAP_MEMORY = 0.9
"""Share of the running logit gap that one step keeps: about ten steps of memory."""


@dataclass(frozen=True)
class TrainState:
    """Progress of a run; together with the seed it addresses every random number of the next step."""

    seed: int
    batch_size: int
    images: int = 0
    """Images seen so far, and so the global position of the next batch's first image."""
    logit_gap: float = 0.0
    """Running mean of D(real) - D(fake); stays 0 for methods without a discriminator."""
    rollbacks: int = 0
    """How often the run has collapsed and gone back to a checkpoint; adversarial methods slow their heads by it."""
    rolled_back_to: int | None = None
    """Images of the checkpoint that the last rollback led to."""

    @property
    def just_rolled_back(self) -> bool:
        """Whether the step at hand is the first after a rollback."""
        return self.images == self.rolled_back_to

    @property
    def global_step(self) -> int:
        """Optimizer steps taken."""
        return self.images // self.batch_size

    @property
    def images_after(self) -> int:
        """Images that will have been seen after the step at hand: the argument of its learning rate."""
        return self.images + self.batch_size

    def after(self, losses: Mapping[str, float]) -> TrainState:
        """The state after one step that returned these losses."""
        gap = losses.get("logit_gap", 0.0)
        running = GAP_MEMORY * self.logit_gap + (1 - GAP_MEMORY) * gap
        return replace(self, images=self.images_after, logit_gap=running if math.isfinite(running) else self.logit_gap)

"""Ray's trainer, without what a Ray of our own does not need."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

from naruto_add.config import ComputeConfig
from naruto_add.on_ray.capacity import is_ours


class TransientTrainer(TorchTrainer):
    """A trainer for a Ray that ends with this process.

    Ray Train 2.60 starts a watcher that frees the workers' CPUs should the controller die. It asks the dashboard how
    the controller is, and where there is none, every run ends with a wait of 12 s for it. Here all ends together.
    """

    def _create_default_callbacks(self) -> list[Any]:
        return [c for c in super()._create_default_callbacks() if not isinstance(c, PlacementGroupCleanerCallback)]


def trainer_class(compute: ComputeConfig) -> type[TorchTrainer]:
    """The trainer for the Ray that `cluster.start` has started or joined."""
    return TransientTrainer if is_ours(compute) else TorchTrainer

"""Shared by the tests of the distillations: small settings, tiny real models, batches by position."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn

from naruto_add.config import DistillConfig, OptimConfig
from naruto_add.data.batch import Batch
from naruto_add.distill import Distillation, Setup, build_distillation
from naruto_add.training.state import TrainState
from tests.tiny import V_ZERO_SNR, TinyFeatures, tiny_batch, tiny_components

OPTIM = OptimConfig(images=64, batch_size=4, learning_rate=1e-3, ema_images=8)
STATE = TrainState(seed=0, batch_size=4)
CAPTIONS = [f"samurai {i}" for i in range(6)]


def make(config: DistillConfig, scheduler_config: dict[str, object] = V_ZERO_SNR, **options: object) -> Distillation:
    """The method on tiny models; ADD alone gets a feature network."""
    features = TinyFeatures() if config.method == "add" else None
    teacher = tiny_components(scheduler_config=scheduler_config)
    return build_distillation(Setup(config, teacher, features, captions=CAPTIONS, **options))


@cache
def samples() -> dict[str, Tensor]:
    """Eight encoded images, made once; nobody changes them, since a batch's rows are copies."""
    return tiny_batch(tiny_components(), 8)


def batch_of(positions: list[int]) -> Batch:
    rows = torch.tensor(positions) % 8
    return Batch(positions, positions, **{name: tensor[rows] for name, tensor in samples().items()})


BATCH = batch_of([0, 1, 2, 3])


class Feed:
    """Batches of four; the process dies before position `death`."""

    def __init__(self, death: int = 10**9) -> None:
        self.death = death

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        for first in range(start, stop, 4):
            if first >= self.death:
                raise KeyboardInterrupt
            yield batch_of(list(range(first, first + 4)))


def norm_of(module: nn.Module) -> float:
    return sum(float(p.grad.norm()) for p in module.parameters() if p.grad is not None)


def everything(method: Distillation) -> dict[str, Tensor]:
    """All weights, averages and optimizer states of all players."""
    return {name: t.clone() for player in method.players.values() for name, t in player.tensors()}


class Recorder:
    """Keeps what a module is called with; the module itself runs as ever."""

    def __init__(self, module: nn.Module) -> None:
        self.inputs: list[Tensor] = []
        module.register_forward_pre_hook(lambda _, args: self.inputs.append(args[0].detach()))

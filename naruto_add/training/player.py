"""A player: a module with its own engine, optimizer and moving average. While one plays, the others are frozen."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from naruto_add.config import OptimConfig
from naruto_add.errors import UserError
from naruto_add.training.engine import Engine, EngineFactory, Moments, NonFinite, TorchEngine, share
from naruto_add.training.pace import ema_decay
from naruto_add.training.timeline import COMMUNICATION, OPTIMIZER, Timeline
from naruto_add.training.world import World


class Player:
    """Something that learns. All ranks build the same players in the same order and call them alike."""

    def __init__(self, name: str, module: nn.Module, optim: OptimConfig, engine: EngineFactory = TorchEngine) -> None:
        self.name = name
        self.world = World.current()
        self.decay = ema_decay(optim)
        self.ema = shadow(module)
        """The moving average of the weights: a plain float32 module in eval mode, whole on every rank."""
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.engine: Engine = engine(module, optim)
        self.timeline = Timeline()
        self._bad = torch.zeros((), dtype=torch.bool)
        self.engine.tell_gradients(self.watch)

    @property
    def module(self) -> nn.Module:
        """The module to call for a forward pass (in a ZeRO engine too: never the engine itself)."""
        return self.engine.module

    def timed_by(self, timeline: Timeline) -> None:
        """Tell the timeline from now on when gradients are exchanged and weights updated."""
        self.timeline = timeline
        timeline.watch_optimizer(self.engine.adamw)

    def _exchanging(self) -> AbstractContextManager[None]:
        """What the timeline is told while ranks talk, or would if there were others."""
        return self.timeline.at(COMMUNICATION if self.world.size > 1 else OPTIMIZER)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch's mean loss; a ZeRO player: once per micro-batch."""
        self.watch(loss)
        self.engine.backward(loss)

    def watch(self, tensor: Tensor) -> None:
        """Remember if a loss or gradient, or what they rest on, or its norm is not finite; no synchronisation."""
        self._bad = self._bad.to(tensor.device) | ~torch.isfinite(torch.linalg.vector_norm(tensor.detach()))

    def check(self) -> None:
        """Raise NonFinite on all ranks if a loss or gradient since the last step was not finite on any; collective."""
        here = bool(self._bad) or not self.engine.finite()
        with self._exchanging():
            bad = self.world.any(here)
        if bad:
            raise NonFinite(self.name, here)

    def step(self, lr: float) -> float:
        """Update weights and average; returns the gradient norm. Raises NonFinite on all ranks before any change.

        Buffers (spectral norms, batch statistics) become rank 0's, so that all ranks are the same after every step.
        """
        self.check()
        with self._exchanging():
            norm = self.engine.step(lr)
        if not math.isfinite(norm):
            raise NonFinite(self.name, here=True)
        share(self.module.buffers(), self.world)
        self._average()
        return norm

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All that a checkpoint must hold, by name; collective: all ranks draw all items in this order."""
        with self.engine.whole():
            yield from ((f"{self.name}/weights/{n}", t) for n, t in self._kept(self.module).items())
        yield from ((f"{self.name}/ema/{n}", t) for n, t in self._kept(self.ema).items())
        for n, parameter in self.parameters.items():
            yield from ((f"{self.name}/optimizer/{n}/{key}", t) for key, t in self.engine.moments(parameter).items())

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set weights, average and optimizer to what `tensors` gave; collective; UserError if they do not fit."""
        average = self._kept(self.ema)
        weights = {p: self._fitting(tensors, f"weights/{n}", average[n]) for n, p in self.parameters.items()}
        self.engine.load(weights, {p: self._moments(tensors, n) for n, p in self.parameters.items()})
        for n, buffer in self.module.named_buffers():
            buffer.copy_(self._fitting(tensors, f"weights/{n}", average[n]))
        for n, tensor in average.items():
            tensor.copy_(self._fitting(tensors, f"ema/{n}", tensor))

    @torch.no_grad()
    def renew(self, fresh: Mapping[str, Tensor]) -> None:
        """Give the named parameters and buffers new values; their optimizer state starts afresh.

        All others keep theirs. All ranks give equal values. The average follows with the next step.
        """
        weights = {p: fresh.get(n, p.detach()) for n, p in self.parameters.items()}
        kept = {p: {} if n in fresh else dict(self.engine.moments(p)) for n, p in self.parameters.items()}
        self.engine.load(weights, kept)
        for n, buffer in self.module.named_buffers():
            buffer.copy_(fresh.get(n, buffer))

    def _kept(self, module: nn.Module) -> dict[str, Tensor]:
        """The tensors that change in training: trained parameters and buffers."""
        named = dict(module.named_parameters())
        return {n: named[n].detach() for n in self.parameters} | dict(module.named_buffers())

    def _fitting(self, tensors: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
        """The named tensor, checked against the shape of what it will be copied to."""
        found = tensors.get(f"{self.name}/{name}")
        if found is None or found.shape != like.shape:
            raise UserError(
                f"the checkpoint does not fit the {self.name}: {name} is "
                f"{'missing' if found is None else tuple(found.shape)}, wanted {tuple(like.shape)}. "
                "It is of another model; delete the run's .work folder to start afresh."
            )
        return found

    def _moments(self, tensors: Mapping[str, Tensor], parameter: str) -> Moments:
        """The stored optimizer state of one parameter."""
        keys = {key: f"{self.name}/optimizer/{parameter}/{key}" for key in ("step", "exp_avg", "exp_avg_sq")}
        return {key: tensors[name] for key, name in keys.items() if name in tensors}

    @torch.no_grad()
    def _average(self) -> None:
        """One step of the moving average; buffers are taken over as they are."""
        with self.engine.whole():
            now, average = self._kept(self.module), self._kept(self.ema)
            learned = list(self.parameters)
            weights = [now[n].to(average[n]) for n in learned]
            torch._foreach_lerp_([average[n] for n in learned], weights, 1 - self.decay)  # few launches on a GPU
            for n in average.keys() - self.parameters.keys():
                average[n].copy_(now[n])


def shadow(module: nn.Module) -> nn.Module:
    """A frozen copy in eval mode; parameters that are not trained are shared, not copied."""
    shared = {id(p): p for p in module.parameters() if not p.requires_grad}
    return copy.deepcopy(module, shared).requires_grad_(False).eval()


@contextmanager
def frozen(player: Player) -> Iterator[None]:
    """While inside, gradients pass through the player but none reach its weights."""
    for parameter in player.parameters.values():
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in player.parameters.values():
            parameter.requires_grad_(True)

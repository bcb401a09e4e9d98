"""Engines: how a module's gradients become an update. Plain torch here, DeepSpeed in `zero`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from naruto_add.config import OptimConfig
from naruto_add.training.world import World

Moments = Mapping[str, Tensor]
"""AdamW's memory of one parameter: step (), exp_avg and exp_avg_sq of the parameter's shape; empty before its first
update."""
MOMENTS = ("exp_avg", "exp_avg_sq")


class NonFinite(ArithmeticError):
    """A loss or gradient is NaN or infinite; raised on all ranks alike, before the update."""

    def __init__(self, player: str, here: bool) -> None:
        super().__init__(f"{player}: loss or gradient is not finite")
        self.player = player
        self.here = here
        """Whether this rank's share of the batch is the cause."""


class Engine(Protocol):
    """One module's optimizer and the exchange of its gradients; `step` and `moments` are called by all ranks."""

    module: nn.Module
    adamw: torch.optim.AdamW

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch's mean loss; the step's gradient is the mean over micro-batches."""
        ...

    def tell_gradients(self, watch: Callable[[Tensor], None]) -> None:
        """Show `watch` every gradient on its way, unless they are still there when `finite` is asked."""
        ...

    def finite(self) -> bool:
        """Whether the norms of this rank's gradients since the last step are numbers, as far as they are there."""
        ...

    def step(self, lr: float) -> float:
        """Average over the ranks, clip, update; returns the gradient norm before clipping.

        A norm that is not finite is returned without an update.
        """
        ...

    def whole(self) -> AbstractContextManager[object]:
        """A context in which every parameter of the module is there whole, for reading."""
        ...

    def moments(self, parameter: nn.Parameter) -> Moments:
        """The parameter's whole optimizer state."""
        ...

    def load(self, weights: Mapping[nn.Parameter, Tensor], moments: Mapping[nn.Parameter, Moments]) -> None:
        """Set all parameters and their optimizer state."""
        ...


EngineFactory = Callable[[nn.Module, OptimConfig], Engine]


def choose_engine(zero_stage: int | None) -> EngineFactory:
    """The engine of a recipe's `compute.zero_stage`: DeepSpeed at that stage, or plain torch for None."""
    if zero_stage is None:
        return TorchEngine
    from naruto_add.training.zero import DeepSpeedEngine

    return partial(DeepSpeedEngine, stage=zero_stage)


class TorchEngine:
    """Plain torch; with several workers the gradients are averaged in one flat all-reduce.

    A second backward through the same graph (R1) is fine here, which it is not in a ZeRO engine.
    """

    def __init__(self, module: nn.Module, optim: OptimConfig) -> None:
        self.module = module
        self.optim = optim
        self.world = World.current()
        self.parameters = trainable(module)
        self.adamw = adamw(self.parameters, optim)
        share([*module.parameters(), *module.buffers()], self.world)

    def backward(self, loss: Tensor) -> None:
        """See `Engine.backward`."""
        (loss / self.optim.accumulation).backward()

    def tell_gradients(self, watch: Callable[[Tensor], None]) -> None:
        """See `Engine.tell_gradients`: they stay, and what is not finite in one is not finite in their sum."""

    def finite(self) -> bool:
        """See `Engine.finite`."""
        norms = torch._foreach_norm([p.grad for p in self.parameters if p.grad is not None])
        return not norms or bool(torch.stack([norm.float() for norm in norms]).isfinite().all())

    def step(self, lr: float) -> float:
        """See `Engine.step`. Parameters without gradient (an unused path) stay as they are, moments included."""
        average([p.grad for p in self.parameters if p.grad is not None], self.world)
        norm = update(self.adamw, self.parameters, lr, self.optim.max_grad_norm)
        self.adamw.zero_grad(set_to_none=True)
        return norm

    def whole(self) -> AbstractContextManager[object]:
        """See `Engine.whole`: they always are."""
        return nullcontext()

    def moments(self, parameter: nn.Parameter) -> Moments:
        """See `Engine.moments`."""
        return self.adamw.state.get(parameter, {})

    @torch.no_grad()
    def load(self, weights: Mapping[nn.Parameter, Tensor], moments: Mapping[nn.Parameter, Moments]) -> None:
        """See `Engine.load`."""
        for parameter, weight in weights.items():
            parameter.copy_(weight)
        restore(self.adamw, moments)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The module's parameters that ask for a gradient, in order."""
    return [p for p in module.parameters() if p.requires_grad]


def adamw(parameters: Iterable[nn.Parameter], optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); the learning rate is set at every step.

    On processors in one pass over memory: torch's default took three times as long, a tenth of mini's step.
    """
    weights = list(parameters)
    fused = all(p.device.type == "cpu" for p in weights) or None
    return torch.optim.AdamW(
        weights, lr=optim.learning_rate, betas=optim.betas, weight_decay=optim.weight_decay, fused=fused
    )


def update(optimizer: torch.optim.AdamW, parameters: list[nn.Parameter], lr: float, max_grad_norm: float) -> float:
    """Clip the gradients and step, unless their norm is not finite; returns the norm before clipping."""
    norm = float(nn.utils.clip_grad_norm_(parameters, max_grad_norm))
    if math.isfinite(norm):
        set_lr(optimizer, lr)
        optimizer.step()
    return norm


def set_lr(optimizer: torch.optim.AdamW, lr: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def restore(optimizer: torch.optim.AdamW, moments: Mapping[nn.Parameter, Moments]) -> None:
    """Give the optimizer a copy of these states; parameters without one start afresh."""
    optimizer.state.clear()
    for parameter, state in moments.items():
        if state:
            device = dict.fromkeys(MOMENTS, parameter.device)
            optimizer.state[parameter] = {name: t.to(device.get(name, "cpu"), copy=True) for name, t in state.items()}


@torch.no_grad()
def average(tensors: list[Tensor], world: World) -> None:
    """Replace the tensors by their mean over all ranks, in one exchange; all ranks give the same shapes."""
    if world.size == 1 or not tensors:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= world.size
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


@torch.no_grad()
def share(tensors: Iterable[Tensor], world: World) -> None:
    """Give rank 0's values to all ranks."""
    if world.size > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def autocast(device: torch.device, precision: Literal["fp32", "bf16"]) -> AbstractContextManager[object]:
    """The context of training in this precision; parameters, gradients and optimizer stay float32."""
    on = precision == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on, cache_enabled=False)  # weights change inside

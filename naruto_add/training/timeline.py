"""Where a run's time goes: every moment belongs to one part, and hooks say which is at work.

A backward pass belongs to the part through whose output the gradient came last, so light operations between two parts
count for the one nearer to the loss. A clock is enough on a CPU, where nothing runs ahead; on a GPU the networks are
not watched, and their time shows as `rest`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

REST = "rest"
"""Noise, augmentation, losses, averages."""
DATA = "data"
"""Waiting for the next batch."""
BETWEEN = "records, checkpoints, previews"
COMMUNICATION = "communication"
"""Gradients between workers, waiting for the slower one, clipping. What ZeRO exchanges while it differentiates counts
for the network."""
OPTIMIZER = "optimizer"


class Timeline:
    """Adds up seconds by part, from the moment it is made."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._part, self._since = REST, time.perf_counter()
        self._outer: list[str] = []

    def turn_to(self, part: str) -> None:
        """From now on `part` is at work."""
        now = time.perf_counter()
        self.seconds[self._part] += now - self._since
        self._part, self._since = part, now

    def reset(self) -> None:
        """Forget everything up to now."""
        self.turn_to(self._part)
        self.seconds.clear()

    def enter(self, part: str) -> None:
        """`part` is at work until `leave`."""
        self._outer.append(self._part)
        self.turn_to(part)

    def leave(self) -> None:
        """What was at work before is at work again."""
        self.turn_to(self._outer.pop())

    @contextmanager
    def at(self, part: str) -> Iterator[None]:
        """While inside, `part` is at work."""
        self.enter(part)
        try:
            yield
        finally:
            self.leave()

    def watch(self, part: str, module: nn.Module) -> None:
        """Count the module's passes, both ways, for `part`."""

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            self.leave()
            for tensor in tensors_in(output):
                if tensor.requires_grad:
                    tensor.register_hook(lambda _: self.turn_to(part))

        module.register_forward_pre_hook(lambda *_: self.enter(part))
        module.register_forward_hook(leave)

    def watch_optimizer(self, optimizer: Optimizer) -> None:
        """Count the optimizer's steps."""
        optimizer.register_step_pre_hook(lambda *_: self.enter(OPTIMIZER))
        optimizer.register_step_post_hook(lambda *_: self.leave())

    def table(self) -> dict[str, float]:
        """Seconds by part up to now, the largest first."""
        self.turn_to(self._part)
        return dict(sorted(self.seconds.items(), key=lambda item: -item[1]))


def tensors_in(output: Any) -> Iterator[Tensor]:
    """The tensors of a module's output."""
    from torch import Tensor  # not before there are any: settings are checked without torch

    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (Mapping, list, tuple)):
        for value in output.values() if isinstance(output, Mapping) else output:
            yield from tensors_in(value)

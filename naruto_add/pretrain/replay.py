"""An update as one CUDA graph: on a GPU, models as small as `mini` wait for launches and not for arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from naruto_add.training.graphs import warm_up

Update = Callable[[], Mapping[str, Tensor]]
"""One update of a model on what its inputs hold; returns numbers for the log, on the model's device."""


def recorded(
    update: Update, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], generator: torch.Generator
) -> Update:
    """`update` itself on a processor; on a GPU the same as a graph, which each call replays.

    It may read only tensors that stay where they are, change nothing but the model and its optimizers, and draw from
    `generator` alone. Recording leaves model and optimizers as they were.
    """
    if generator.device.type != "cuda":
        return update
    before = {tensor.data_ptr(): tensor.clone() for tensor in changing(model, optimizers)}
    warm_up(update)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        result = update()
    for tensor in changing(model, optimizers):
        tensor.copy_(before.get(tensor.data_ptr(), torch.zeros_like(tensor)))  # zero: born in the warm-up

    def replay() -> Mapping[str, Tensor]:
        graph.replay()
        return result

    return replay


def changing(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Iterable[Tensor]:
    """What an update changes: weights and the optimizers' tensors."""
    yield from (parameter.detach() for parameter in model.parameters())
    for optimizer in optimizers:
        for moments in optimizer.state.values():
            yield from (value for value in moments.values() if isinstance(value, Tensor))


def set_rates(optimizers: Sequence[torch.optim.Optimizer], rates: Sequence[float]) -> None:
    """Fill in the learning rates, which are tensors (a graph would keep a number as it was recorded)."""
    for optimizer, rate in zip(optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"].fill_(rate)

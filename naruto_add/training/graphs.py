"""A UNet's passes as CUDA graphs: on a GPU, networks as small as `mini` wait for launches and not for arithmetic.

`pretrain.replay` records whole updates; here noise is drawn on the processor at addresses of its own, so what is
recorded are the passes between.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

Pass = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From x_t (B,C,h,w), t (B,) and text (B,L,D), all on the GPU, to the UNet's output (B,C,h,w)."""
WARM_UP = 3
"""Calls before recording, as torch asks for: libraries choose their kernels, optimizers make their state."""


class Replay:
    """Stands in for a UNet's forward: each kind of pass is recorded when it is first met, and replayed from then on.

    Weights may change in place, as optimizers and checkpoints change them. Forward hooks inside are not called.
    """

    def __init__(self, unet: UNet2DConditionModel, learns: bool) -> None:
        self.unet, self.learns = unet, learns
        self.plain = unet.forward
        self.passes: dict[tuple[object, ...], Pass] = {}
        self.owing = False
        """A replayed pass waits for its backward, which needs what the next one would overwrite."""

    def __call__(self, x_t: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> UNet2DConditionOutput:
        """As the UNet's own forward; what cannot be replayed is computed by it."""
        inputs = (x_t, t, encoder_hidden_states)
        learning = torch.is_grad_enabled() and any(p.requires_grad for p in self.unet.parameters())
        if any(x.requires_grad for x in inputs) or (learning and (self.owing or not self.learns)):
            return self.plain(*inputs)
        kind = (learning, torch.is_autocast_enabled("cuda"), *((x.shape, x.dtype) for x in inputs))
        if kind not in self.passes:
            self.passes[kind] = (recorded_with_gradient if learning else recorded)(self, *inputs)
        output = self.passes[kind](*inputs)
        if learning:
            self.owing = True
            output.register_hook(self._paid)
        return UNet2DConditionOutput(sample=output)

    def _paid(self, gradient: Tensor) -> None:
        self.owing = False


def replay(unet: UNet2DConditionModel, learns: bool) -> None:
    """Have this UNet, which is on a GPU, replay its passes from now on; with gradient only if it `learns`.

    A network that learns takes one backward for each optimizer step: the gradients are where the graph left them.
    """
    unet.forward = Replay(unet, learns)


@torch.no_grad()
def recorded(of: Replay, *inputs: Tensor) -> Pass:
    """The pass without gradient as one graph; its inputs are copied in, its output out."""
    held = [x.clone() for x in inputs]
    warm_up(lambda: of.plain(*held))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = of.plain(*held).sample
    return partial(run, graph, held, output)


def warm_up(call: Callable[[], object]) -> None:
    """Make the calls that go before recording, on a stream of their own."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(side)


def run(graph: torch.cuda.CUDAGraph, held: list[Tensor], output: Tensor, *inputs: Tensor) -> Tensor:
    """Replay it on these inputs."""
    for place, x in zip(held, inputs, strict=True):
        place.copy_(x)
    graph.replay()
    return output.clone()


class Positional(nn.Module):
    """The UNet as torch's recorder wants it: a module that takes tensors in order and returns one."""

    def __init__(self, of: Replay) -> None:
        super().__init__()
        self.unet, self.plain = of.unet, of.plain

    def forward(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """See `Pass`."""
        return self.plain(x_t, t, text).sample


def recorded_with_gradient(of: Replay, *inputs: Tensor) -> Pass:
    """The pass and its backward as two graphs."""
    held = tuple(x.clone() for x in inputs)
    graphed: Any = torch.cuda.make_graphed_callables(Positional(of), held, WARM_UP, allow_unused_input=True)
    return lambda *given: graphed(*given).clone()

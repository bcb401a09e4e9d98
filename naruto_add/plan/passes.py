"""What one forward pass costs, measured on the meta device: nothing is computed and no weight takes memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Pass:
    """One pass of one image."""

    flops: float
    """Of convolutions, matrix products and attention, forward only; a multiplication and an addition are two."""
    saved_bytes: int
    """What autograd keeps for the backward pass, weights apart, all in float32."""


class Kept:
    """The tensors that autograd saves while this is entered; weights and what shares their memory do not count."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.weights = {address(tensor) for tensor in weights}
        self.storages: dict[int, torch.UntypedStorage] = {}
        self.largest_block = 0
        """Bytes that the largest checkpointed block saves when it is run again."""

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor's memory once; held on to, so that its address stays its own."""
        if address(tensor) not in self.weights:
            self.storages[address(tensor)] = tensor.untyped_storage()
        return tensor

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        """The context that counts."""
        return torch.autograd.graph.saved_tensors_hooks(self.add, lambda tensor: tensor)

    def checkpointed(self, block: Callable[..., Any], *inputs: Any) -> Any:
        """What stands for torch.utils.checkpoint: the inputs are kept, of the rest only the largest block's."""
        for tensor in inputs:
            if isinstance(tensor, Tensor):
                self.add(tensor)
        inner = Kept(())
        inner.weights = self.weights
        with inner.hooks():
            output = block(*inputs)
        self.largest_block = max(self.largest_block, inner.total)
        return output

    @property
    def total(self) -> int:
        """Bytes kept at the worst moment."""
        return sum(storage.nbytes() for storage in self.storages.values()) + self.largest_block


class FusedAttention(TorchFunctionMode):
    """Attention as GPUs compute it, keeping only its inputs and output; on meta torch would keep every score."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Replace attention, and count its two matrix products: q (..., L, D) with k, and the scores with v."""
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        query, key, value = named["query"], named["key"], named["value"]
        self.flops += 2.0 * query.numel() * key.shape[-2] * 2
        return Attention.apply(query, key, value)


class Attention(torch.autograd.Function):
    """The shape of fused attention, and what it saves."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """A tensor of the output's shape (..., L, D)."""
        output = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Never called: nothing is differentiated on the meta device."""
        raise NotImplementedError


def measure(call: Callable[[], object], *modules: nn.Module, checkpointing: bool = False) -> Pass:
    """The cost of `call`, a pass of one image through `modules`; `checkpointing`: the first recomputes its blocks."""
    kept, counter, attention = Kept(weights_of(modules)), FlopCounterMode(display=False), FusedAttention()
    if checkpointing:
        unet: Any = modules[0]
        unet.enable_gradient_checkpointing(kept.checkpointed)
    with counter, attention, kept.hooks():
        call()
    return Pass(counter.get_total_flops() + attention.flops, kept.total)


def weights_of(modules: Iterable[nn.Module]) -> Iterable[Tensor]:
    """Parameters and buffers of all modules."""
    for module in modules:
        yield from module.parameters()
        yield from module.buffers()


def address(tensor: Tensor) -> int:
    """What tells one piece of memory from another; on meta all data pointers are zero."""
    return tensor.untyped_storage()._cdata

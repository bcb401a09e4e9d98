"""The same bits for a picture whatever shares its batch.

On the CPU PyTorch chooses other kernels for a batch of one than for more (its own convolution rather than oneDNN's, a
matrix-vector product rather than a matrix product), and they round differently. So convolutions always go through
oneDNN, and matrix products of a row a picture get a fixed number of rows. Whether that is enough is not believed but
measured: `exact_sizes` compares all batch sizes on the machine at hand, and only those that agree are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType

import torch
from torch import Tensor, nn


def make_invariant(module: nn.Module, max_rows: int) -> None:
    """Let the module's convolutions and linear layers compute each row alike in any batch of up to `max_rows`."""
    if not torch.backends.mkldnn.is_available():
        return
    for layer in module.modules():
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            layer.forward = MethodType(convolve, layer)  # type: ignore[method-assign]
        if type(layer) is nn.Linear:
            layer.forward = partial(multiply, layer, max_rows)  # type: ignore[method-assign]


def convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """`layer(x)` of (B,C,H,W) by oneDNN for every B."""
    if x.is_cuda:
        return nn.Conv2d.forward(layer, x)
    return torch.ops.aten.mkldnn_convolution(
        x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups
    )


def multiply(layer: nn.Linear, max_rows: int, x: Tensor) -> Tensor:
    """`layer(x)` of a row a picture, (B,D) or (B,1,D), filled up with zeros to `max_rows`; of (B,L,D) as it is: that
    has many rows anyway.
    """
    if x[0].numel() > x.shape[-1] or x.is_cuda:
        return nn.functional.linear(x, layer.weight, layer.bias)
    filled = nn.functional.pad(x, (0, 0) * (x.ndim - 1) + (0, max_rows - len(x)))
    return nn.functional.linear(filled, layer.weight, layer.bias)[: len(x)]


def exact_sizes(compute: Callable[[Sequence[int]], Tensor], candidates: Sequence[int]) -> tuple[int, ...]:
    """Those of the candidates (rising) in which rows come out bit for bit as in the largest; that one is among them.

    `compute(rows)` returns the results (len(rows), ...) of these rows. The last rows are compared, which sit at another
    position in each batch.
    """
    *smaller, largest = candidates
    reference = compute(range(largest))

    def agrees(size: int) -> bool:
        return torch.equal(compute(range(largest - size, largest)), reference[largest - size :])

    return (*filter(agrees, smaller), largest)


def filled_size(count: int, sizes: Sequence[int]) -> int:
    """The smallest of the exact sizes that holds `count` rows."""
    return min(size for size in sizes if size >= count)

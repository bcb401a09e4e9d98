"""Muon (Jordan et al. 2024) for convolutions and linear layers: weights of one shape are orthogonalised together.

torch.optim.Muon takes one matrix after the other, which for the many small matrices of `mini` costs several times the
forward and backward pass on a processor.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration, from the author's report."""


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter is a weight that Muon is for: of a linear layer or a convolution."""
    return parameter.ndim in (2, 4)


def as_matrix(weight: Tensor) -> Tensor:
    """A weight as (out, in), a convolution's as (out, h * w * in): a view where it is channels last."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight


def as_weight(matrix: Tensor, like: Tensor) -> Tensor:
    """The reverse of `as_matrix`."""
    if like.ndim == 2:
        return matrix
    out, into, height, width = like.shape
    return matrix.view(out, height, width, into).permute(0, 3, 1, 2)


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices (n, a, b), roughly: singular values end between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    x = x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; the update's size is matched to AdamW's (0.2 times the longer side's root)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: Tensor, momentum: float = 0.95) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for shape, weights in by_shape(w for w in group["params"] if w.grad is not None).items():
                update = orthogonalised(torch.stack([self.nesterov(w, group["momentum"]) for w in weights]))
                update = update * (group["lr"] * 0.2 * max(shape) ** 0.5)
                for weight, change in zip(weights, update, strict=True):
                    weight.sub_(as_weight(change, weight))

    def nesterov(self, weight: Tensor, momentum: float) -> Tensor:
        """The gradient, mixed with its moving average once more than usual."""
        assert weight.grad is not None
        gradient = as_matrix(weight.grad)
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum)


def by_shape(weights: Iterable[Tensor]) -> dict[torch.Size, list[Tensor]]:
    """Weights grouped by the shape of their matrices."""
    groups: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        groups.setdefault(as_matrix(weight).shape, []).append(weight)
    return groups


OUTSIDE = ("embedding", "conv_in.", "conv_out.", "conv_shortcut", "samplers.")
"""Not for Muon: the first and the last layer, and what maps the residual stream linearly. No norm stands behind those,
so that updates as large for every layer let the stream grow without end, first on the compact path."""


def muon_and_adam(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside of the model, Adam for the rest: biases, norms, embeddings, `OUTSIDE`.

    Their rates are tensors on the model's device, to be filled before every step.
    """
    inside: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = is_matrix(parameter) and not any(part in name for part in OUTSIDE)
        (inside if matrix else others).append(parameter)
    device = others[0].device
    adam = torch.optim.Adam(
        others, lr=torch.zeros((), device=device), betas=(0.9, 0.99), capturable=device.type == "cuda"
    )
    return [Muon(inside, torch.zeros((), device=device)), adam]

"""How different two pictures look: LPIPS where AlexNet's weights are at hand, and a stand-in with a name of its own.

The stand-in compares EfficientNet-Lite's maps at four levels by `losses.perceptual`: as LPIPS does (Zhang et al. 2018,
equation 1), but with all channels weighted alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from lpips import LPIPS, normalize_tensor
from torch import Tensor, nn

from naruto_add.diffusion import losses
from naruto_add.evaluation.standard import ALEXNET, load_lpips
from naruto_add.models.features import FeatureNet


class Perceptual(nn.Module, ABC):
    """A symmetric distance between pictures, by way of maps that are computed once per picture."""

    name: str
    network: str
    sha256: str

    @abstractmethod
    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps (B, C_k, H_k, W_k) of pixels in [-1, 1], as `between` wants them."""

    @abstractmethod
    def between(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Distances (B,) of the pictures whose maps these are."""


class EfficientNetDistance(Perceptual):
    """`losses.perceptual` of the network's own maps: 0 for equal pictures, at most 4."""

    def __init__(self, net: FeatureNet) -> None:
        super().__init__()
        self.net = net
        self.network, self.sha256 = net.name, net.sha256
        self.name = f"perceptual distance ({net.name})"

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """See `Perceptual.maps`."""
        maps: list[Tensor] = self.net(pixels)
        return maps

    def between(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """See `Perceptual.between`."""
        return losses.perceptual(a, b)


class AlexNetLpips(Perceptual):
    """LPIPS v0.1 with AlexNet: the lpips package's layers."""

    name = "LPIPS (AlexNet, v0.1)"
    network = "alexnet"
    sha256 = ALEXNET.sha256

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.net: LPIPS = load_lpips(path)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """See `Perceptual.maps`."""
        return [normalize_tensor(level) for level in self.net.net(self.net.scaling_layer(pixels))]

    def between(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """See `Perceptual.between`."""
        layers = zip(self.net.lins, a, b, strict=True)
        return torch.stack([weigh(lin, (x - y).square()) for lin, x, y in layers]).sum(dim=0)


def weigh(lin: nn.Module, squares: Tensor) -> Tensor:
    """One level's distance (B,): LPIPS' learned weights over channels, then the mean over places."""
    return lin(squares).mean(dim=(1, 2, 3))

"""The networks that look at pictures: one for distances between sets, one between pairs, one for attributes.

All three may be the same network; then a picture passes through it once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from naruto_add.config import EvaluateConfig
from naruto_add.evaluation.painters import to_pixels
from naruto_add.evaluation.perceptual import AlexNetLpips, EfficientNetDistance, Perceptual
from naruto_add.evaluation.standard import ALEXNET, Inception, find, load_inception
from naruto_add.models.features import FeatureNet, load_features

STAND_IN = "efficientnet_lite1"
"""The network of the perceptual distance without AlexNet, and of the attribute judge."""

Extractor = FeatureNet | Inception
"""What a distance between sets can look with."""

logger = logging.getLogger(__name__)


class Look(NamedTuple):
    """What the networks see in a batch of pictures."""

    features: Tensor
    """(B, F), for distances between sets."""
    maps: list[Tensor]
    """For distances between pairs."""
    raw: list[Tensor]
    """The stand-in network's maps, for the attribute judge."""


@dataclass(frozen=True)
class Eyes:
    """The networks of an evaluation, on one device."""

    lite: FeatureNet
    extractor: Extractor
    perceptual: Perceptual
    device: torch.device

    @torch.no_grad()
    def look(self, images: Tensor) -> Look:
        """See 8-bit pictures (B, 3, H, W)."""
        pixels = to_pixels(images, self.device)
        raw = self.lite(pixels)
        own = isinstance(self.perceptual, EfficientNetDistance)
        return Look(
            features=self._features(pixels, raw).double().cpu(),
            maps=raw if own else self.perceptual.maps(pixels),
            raw=raw,
        )

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """(B, F) of 8-bit pictures, float64 on CPU."""
        return self.extractor.pooled(to_pixels(images, self.device)).double().cpu()

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps of 8-bit pictures, for distances between pairs."""
        return self.perceptual.maps(to_pixels(images, self.device))

    def _features(self, pixels: Tensor, raw: list[Tensor]) -> Tensor:
        return self.lite.pool(raw) if self.extractor is self.lite else self.extractor.pooled(pixels)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Names and hashes for the report: "FID" and "LPIPS" for the standard weights alone."""
        standard = isinstance(self.extractor, Inception)
        distance = "FID" if standard else f"Frechet distance ({self.extractor.name})"
        kernel = "KID" if standard else f"kernel distance ({self.extractor.name})"
        return {
            "distribution": {
                "name": distance,
                "kernel_name": kernel,
                "network": self.extractor.name,
                "sha256": self.extractor.sha256,
            },
            "perceptual": {
                "name": self.perceptual.name,
                "network": self.perceptual.network,
                "sha256": self.perceptual.sha256,
            },
        }


def open_eyes(config: EvaluateConfig, device: torch.device) -> Eyes:
    """Load the networks that a recipe names; raises UserError for those whose weights are not to be had."""
    lite = load_features(STAND_IN).to(device)
    extractor = lite if config.extractor == STAND_IN else load_extractor(config).to(device)
    return Eyes(lite, extractor, load_perceptual(config, lite).to(device), device)


def load_extractor(config: EvaluateConfig) -> Extractor:
    """The network of the distances between sets."""
    if config.extractor == "inception":
        return load_inception(config.weights)
    dinov2 = None if config.weights is None else Path(config.weights) / "dinov2_vits14.safetensors"
    return load_features(config.extractor, str(dinov2) if dinov2 is not None and dinov2.is_file() else None)


def load_perceptual(config: EvaluateConfig, lite: FeatureNet) -> Perceptual:
    """LPIPS if AlexNet's weights are in the recipe's folder or in the hub cache, else the stand-in."""
    alexnet = find(ALEXNET, config.weights)
    if alexnet is not None:
        return AlexNetLpips(alexnet)
    if config.weights is not None:
        logger.warning("%s: no %s there; %s stands in for LPIPS", config.weights, ALEXNET.names[0], STAND_IN)
    return EfficientNetDistance(lite)

"""Fine-tuning of the autoencoder's decoder: no latent model can draw sharper than that.

Crops of the training images are decoded from their cached latents and compared with their pixels, by L1 and by a
perceptual distance. The encoder is not touched, so latents stay what they are and whatever was trained on them fits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor

from naruto_add import rng
from naruto_add.config import TeacherConfig
from naruto_add.data.batch import Batch
from naruto_add.diffusion import losses
from naruto_add.models.features import FeatureNet
from naruto_add.models.load import Autoencoder, decode
from naruto_add.training.engine import EngineFactory
from naruto_add.training.method import numbers
from naruto_add.training.pace import learning_rate
from naruto_add.training.player import Player

L1_WEIGHT = 3.0
"""Of the mean absolute difference of pixels in [-1, 1], beside a perceptual distance of weight 1."""
LATENT_NOISE = 0.1
"""Standard deviation of the noise on the latents, as those of a diffusion model are not exact."""


class DecoderTuning:
    """The decoder as a player, and what it learns from; `features` are the eyes of its perceptual distance."""

    def __init__(
        self,
        config: TeacherConfig,
        vae: Autoencoder,
        features: FeatureNet,
        engine: EngineFactory,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.config, self.vae, self.features, self.autocast = config, vae, features, autocast
        vae.decoder.requires_grad_(True)
        self.player = Player("decoder", vae.decoder, replace(config.optim, weight_decay=0.0), engine)

    def backward(self, batch: Batch, seed: int) -> dict[str, float]:
        """Gradients of one micro-batch: the mean over a `decoder_share` of its images; returns both distances.

        Which images, and where they are cropped, is addressed by their positions.
        """
        chosen = rng.uniform(seed, "decoder-share", batch.positions) < self.config.decoder_share
        rows = (
            chosen.nonzero().flatten() if chosen.any() else torch.zeros(1, dtype=torch.long)
        )  # for there to be a graph
        positions = [batch.positions[row] for row in rows.tolist()]
        latents, pixels = self.crops(batch, rows, positions, seed)
        noise = rng.normal(latents.shape[1:], seed, "decoder-noise", positions).to(latents)
        with self.autocast():
            decoded = decode(self.vae, latents + LATENT_NOISE * noise).float()
            seen = losses.perceptual(self.features(decoded), self.features(pixels))
        l1 = (decoded - pixels).abs().flatten(1).mean(1)
        weight = chosen[rows].to(l1) / (self.config.decoder_share * len(batch))
        l1, seen = ((weight * each).sum() for each in (l1, seen))
        self.player.backward(L1_WEIGHT * l1 + seen)
        return numbers({"decoder_l1": l1, "decoder_perceptual": seen})

    def crops(self, batch: Batch, rows: Tensor, positions: list[int], seed: int) -> tuple[Tensor, Tensor]:
        """Latents (N,C,k,k) and pixels (N,3,f k,f k) of one place in each of these rows, f the autoencoder's factor."""
        assert batch.pixels is not None, "this needs batches with pixels"
        height, width = batch.latents.shape[-2:]
        factor = batch.pixels.shape[-1] // width
        side = crop_side(self.config, factor, batch.latents.shape)
        tops = rng.integers(height - side + 1, seed, "decoder-top", positions).tolist()
        lefts = rng.integers(width - side + 1, seed, "decoder-left", positions).tolist()

        def cut(images: Tensor, scale: int) -> Tensor:
            places = zip(rows.tolist(), tops, lefts, strict=True)
            return torch.stack(
                [square(images[row], scale * top, scale * left, scale * side) for row, top, left in places]
            )

        return cut(batch.latents, 1), cut(batch.pixels, factor)

    def step(self, images: int) -> float:
        """The update after which `images` have been seen; returns the gradient norm."""
        return self.player.step(learning_rate(self.config.optim, images, self.config.decoder_learning_rate))

    def averaged(self) -> Autoencoder:
        """The autoencoder with the decoder's averaged weights, a copy."""
        vae = copy.deepcopy(self.vae).requires_grad_(False)
        vae.decoder.load_state_dict(self.player.ema.state_dict())
        return vae


def crop_side(config: TeacherConfig, factor: int, shape: Sequence[int]) -> int:
    """Latents along a side of a crop, of latents (..., h, w) whose side is 1 / `factor` of the pixels'."""
    return max(1, min(config.decoder_crop_px // factor, *shape[-2:]))


def square(image: Tensor, top: int, left: int, side: int) -> Tensor:
    """That part (C, side, side) of an image (C, H, W)."""
    return image[:, top : top + side, left : left + side]

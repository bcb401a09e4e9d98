"""Eyes of the discriminator: frozen networks that look at a real image and the student's, each in a space of its own.

- `PixelEye`, ADD section 3.2: a feature network on augmented pixels, whole or reduced.
- `LatentEye`, LADD (Sauer et al. 2024, arXiv 2403.12015) section 3: the teacher's own maps of noised latents; nothing
  is decoded. Both at once judge in two spaces, as in DMDX (Lu et al. 2025, arXiv 2507.18569).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D
from torch import Tensor

from naruto_add import rng
from naruto_add.config import DistillConfig
from naruto_add.diffusion.levels import flow_times, timesteps_at
from naruto_add.distill.judges import Judges
from naruto_add.models.augment import augment
from naruto_add.models.discriminator import condition_of
from naruto_add.models.features import FeatureNet

CONDITIONS = {"none": (False, False), "text": (True, False), "image": (False, True), "both": (True, True)}
"""Whether the heads see the caption's embedding, and the features of x0."""
NOISE_MEAN, NOISE_STD = 1.0, 1.0
"""m and s of LADD's logit-normal density: mostly high noise, where structure is judged."""


@dataclass(frozen=True)
class Picture:
    """Images as latents (B,C,h,w), and as pixels (B,3,H,W) where somebody looks at them."""

    latents: Tensor
    pixels: Tensor | None

    def detached(self) -> Picture:
        """The same without gradient."""
        return Picture(self.latents.detach(), None if self.pixels is None else self.pixels.detach())


@dataclass(frozen=True)
class Captions:
    """Encoded captions: hidden states (B,L,D) and pooled embeddings (B,P)."""

    text: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Shown:
    """One micro-batch as the heads are shown it: real images, the student's in their places, the captions of both."""

    positions: list[int]
    x_s: Tensor
    """The student's input (B,C,h,w), at timestep s."""
    s: Tensor
    real: Picture
    fake: Picture
    captions: Captions
    wrong: Captions | None
    """Captions of other images, for the mismatched pairs."""
    knows_x0: Tensor
    """(B,): whether the student saw anything of x0."""

    def detached(self) -> Shown:
        """The same without gradient."""
        return replace(self, real=self.real.detached(), fake=self.fake.detached())


@dataclass(frozen=True)
class Sight:
    """Feature maps (B, C_k, H_k, W_k) of the real and of the student's images, and the heads' condition for both."""

    real: list[Tensor]
    fake: list[Tensor]
    condition: Tensor | None
    wrong: list[Tensor] | None = None
    """Maps of the real images under other captions, with their condition."""
    wrong_condition: Tensor | None = None

    def detached(self) -> Sight:
        """The same without gradient."""
        return replace(self, fake=[level.detach() for level in self.fake])


class Eye(Protocol):
    """One frozen way of looking. What is drawn depends on the position and the turn alone: both images get the same."""

    channels: list[int]
    """Of the maps, level by level."""
    condition_size: int

    def look(self, shown: Shown, turn: int, seed: int) -> Sight:
        """The maps of both images; gradients pass to the student's alone, unless `shown` is detached."""
        ...


class PixelEye:
    """A feature network that sees augmented pixels at one or several scales."""

    def __init__(self, config: DistillConfig, features: FeatureNet, pooled_size: int) -> None:
        self.features = features
        self.augment = config.augment
        self.scales = config.scales
        self.by_text, self.by_image = CONDITIONS[config.conditioning]
        self.channels = features.channels * len(config.scales)
        self.condition_size = self.by_text * pooled_size + self.by_image * features.pooled_size

    def look(self, shown: Shown, turn: int, seed: int) -> Sight:
        """See `Eye.look`."""
        with torch.no_grad():
            real = self.maps(shown.real, turn, shown.positions, seed)
        fake = self.maps(shown.fake, turn, shown.positions, seed)
        condition = self.condition(shown.captions, real, shown.knows_x0)
        if shown.wrong is None:
            return Sight(real, fake, condition)
        return Sight(real, fake, condition, real, self.condition(shown.wrong, real, shown.knows_x0))

    def maps(self, picture: Picture, turn: int, positions: list[int], seed: int) -> list[Tensor]:
        """All levels at the first scale, then at the next: float32."""
        assert picture.pixels is not None, "this eye needs pixels"
        seen = augment(picture.pixels, seed, f"augment-{turn}", positions) if self.augment else picture.pixels
        return [level.float() for scale in self.scales for level in self.features(reduced(seen, scale))]

    def condition(self, captions: Captions, real: list[Tensor], knows_x0: Tensor) -> Tensor | None:
        """What the heads are told of each image, the same for the real one and the student's."""
        whole = real[: len(self.features.channels)]
        image = FeatureNet.pool(whole) if self.by_image else None
        return condition_of(captions.pooled if self.by_text else None, image, knows_x0)


class LatentEye:
    """The teacher's inner maps of re-noised latents; the heads are told the noise level, and the caption if asked."""

    def __init__(self, config: DistillConfig, judges: Judges, pooled_size: int) -> None:
        self.teacher, self.schedule = judges.teacher, judges.schedule
        self.by_text, _ = CONDITIONS[config.conditioning]
        widths = list(judges.teacher.config["block_out_channels"])
        self.channels = widths + widths[-1:] * (judges.teacher.mid_block is not None)
        self.condition_size = self.by_text * pooled_size + judges.teacher.time_proj.num_channels

    def look(self, shown: Shown, turn: int, seed: int) -> Sight:
        """See `Eye.look`; the level of the noise is drawn for each image, LADD section 3."""
        normal = rng.normal((), seed, f"heads-level-{turn}", shown.positions)
        t = timesteps_at(self.schedule, flow_times(normal, NOISE_MEAN, NOISE_STD))
        latents = shown.real.latents
        eps = rng.normal(latents.shape[1:], seed, f"heads-noise-{turn}", shown.positions).to(latents)
        x_t = self.schedule.add_noise(latents, eps, t)
        with torch.no_grad():
            real = encoder_maps(self.teacher, x_t, t, shown.captions.text)
        fake = encoder_maps(self.teacher, self.schedule.add_noise(shown.fake.latents, eps, t), t, shown.captions.text)
        condition = self.condition(shown.captions, t)
        if shown.wrong is None:
            return Sight(real, fake, condition)
        with torch.no_grad():  # the teacher reads the other caption too, or its maps would give the right one away
            wrong = encoder_maps(self.teacher, x_t, t, shown.wrong.text)
        return Sight(real, fake, condition, wrong, self.condition(shown.wrong, t))

    def condition(self, captions: Captions, t: Tensor) -> Tensor | None:
        """The level's sinusoidal embedding, after the caption's."""
        noise = self.teacher.time_proj(t.to(captions.pooled.device)).to(captions.pooled)
        return condition_of(captions.pooled if self.by_text else None, None, t, noise)


def reduced(pixels: Tensor, scale: int) -> Tensor:
    """The pixels (B,3,H,W) at 1 / `scale` of their side, by averaging."""
    return pixels if scale == 1 else F.avg_pool2d(pixels, scale)


def encoder_maps(unet: UNet2DConditionModel, x_t: Tensor, t: Tensor, text: Tensor) -> list[Tensor]:
    """What leaves each down stage and the mid block (float32): half a pass of the UNet's own forward."""
    emb = unet.time_embedding(unet.get_time_embed(sample=x_t, timestep=t.to(x_t.device)))
    x, maps = unet.conv_in(x_t), []
    for block in unet.down_blocks:
        words = {"encoder_hidden_states": text} if isinstance(block, CrossAttnDownBlock2D) else {}
        x, _ = block(hidden_states=x, temb=emb, **words)
        maps.append(x.float())
    if unet.mid_block is not None:
        maps.append(unet.mid_block(x, emb, encoder_hidden_states=text).float())
    return maps

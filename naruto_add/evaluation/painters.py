"""Models that draw, in three phases that can be timed apart: captions to text, noise to latents, latents to pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from naruto_add.artifact import canonical, sha256_text
from naruto_add.data import latents as latent_cache
from naruto_add.diffusion.samplers import few_steps, initial_noise, renoise_noises, sample_student, sample_teacher
from naruto_add.diffusion.schedule import load_schedule
from naruto_add.models.bfloat16 import suit_cpu
from naruto_add.models.features import state_sha256
from naruto_add.models.load import Components, decode, encode_images, encode_text


class Text(NamedTuple):
    """Encoded captions (B, L, D) and the encoded empty caption (L, D), None where the model needs none."""

    captions: Tensor
    empty: Tensor | None


@dataclass(frozen=True)
class Easel:
    """How large pictures are, and what they are drawn on."""

    size_px: int
    device: torch.device
    bf16: bool = False
    """Run the networks in bfloat16 where that is safe."""

    def context(self) -> torch.autocast:
        """Mixed precision where it is wanted."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


class Painter(ABC):
    """A text-to-image model with all its settings but the number of steps."""

    def __init__(self, name: str, components: Components, easel: Easel) -> None:
        self.name = name
        self.components = components
        self.easel = easel
        components.text_encoder.to(easel.device)
        for convolutional in (components.unet, components.vae):
            convolutional.to(easel.device, memory_format=torch.channels_last)
        if easel.bf16 and easel.device.type == "cpu":
            suit_cpu(components.unet)
        blank = torch.zeros(1, 3, easel.size_px, easel.size_px, device=easel.device)
        self.latent_shape = tuple(encode_images(components.vae, blank).shape[1:])
        self.digest = components_digest(components)

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, object]:
        """What decides a picture beside weights, caption, noise and steps."""

    @abstractmethod
    def embed(self, captions: Sequence[str]) -> Text:
        """Encode what the model needs to draw these captions."""

    @abstractmethod
    def denoise(self, text: Text, x_T: Tensor, noises: Sequence[Tensor], steps: int) -> Tensor:
        """Latents (B, C, h, w) from noise; `noises` are the steps - 1 fresh ones of a student."""

    @abstractmethod
    def passes(self, steps: int) -> int:
        """Forward passes of the UNet for one picture, guidance counted twice."""

    def noise(self, seed: int, positions: Sequence[int], steps: int) -> tuple[Tensor, list[Tensor]]:
        """x_T and the fresh noises of the images at `positions`: the same for every model."""
        x_T = initial_noise(self.latent_shape, seed, positions)
        fresh = renoise_noises(self.latent_shape, seed, positions, steps)
        return x_T.to(self.easel.device), [noise.to(self.easel.device) for noise in fresh]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) of latents, clamped to [-1, 1]."""
        return decode(self.components.vae, latents).clamp(-1, 1)

    def draw(self, captions: Sequence[str], positions: Sequence[int], steps: int, seed: int) -> Tensor:
        """Pictures (B, 3, H, W), uint8 on CPU; `positions` address their noise."""
        x_T, noises = self.noise(seed, positions, steps)
        with self.easel.context():
            return to_uint8(self.decode(self.denoise(self.embed(captions), x_T, noises, steps)))


class GuidedPainter(Painter):
    """A diffusion model under classifier-free guidance: the teacher, or the untouched base."""

    def __init__(self, name: str, components: Components, easel: Easel, guidance_scale: float) -> None:
        super().__init__(name, components, easel)
        self.guidance_scale = guidance_scale

    @property
    def settings(self) -> Mapping[str, object]:
        """See `Painter.settings`."""
        return {"sampler": "dpmsolver++ 2M", "guidance_scale": self.guidance_scale, "bf16": self.easel.bf16}

    def embed(self, captions: Sequence[str]) -> Text:
        """See `Painter.embed`."""
        text, _ = encode_text(self.components, [*captions, ""])
        return Text(text[:-1], text[-1])

    def denoise(self, text: Text, x_T: Tensor, noises: Sequence[Tensor], steps: int) -> Tensor:
        """See `Painter.denoise`; the sampler is deterministic and takes no fresh noise."""
        assert text.empty is not None, "guidance needs the empty caption"
        unet, config = self.components.unet, self.components.scheduler_config
        return sample_teacher(unet, config, x_T, text.captions, text.empty, steps, self.guidance_scale)

    def passes(self, steps: int) -> int:
        """See `Painter.passes`."""
        return steps if self.guidance_scale == 1 else 2 * steps


class FewStepPainter(Painter):
    """The distilled student, without guidance."""

    def __init__(self, name: str, components: Components, easel: Easel, timesteps: Sequence[int]) -> None:
        super().__init__(name, components, easel)
        self.timesteps = tuple(timesteps)
        self.schedule = load_schedule(components.scheduler_config)

    @property
    def settings(self) -> Mapping[str, object]:
        """See `Painter.settings`."""
        return {"sampler": "few steps", "timesteps": list(self.timesteps), "bf16": self.easel.bf16}

    def embed(self, captions: Sequence[str]) -> Text:
        """See `Painter.embed`."""
        return Text(encode_text(self.components, captions)[0], None)

    def denoise(self, text: Text, x_T: Tensor, noises: Sequence[Tensor], steps: int) -> Tensor:
        """See `Painter.denoise`."""
        timesteps = few_steps(self.timesteps, steps)
        return sample_student(self.components.unet, self.schedule, x_T, text.captions, timesteps, noises)

    def passes(self, steps: int) -> int:
        """See `Painter.passes`."""
        return steps


def components_digest(components: Components) -> str:
    """A hash of every weight and setting that decides a model's pictures."""
    parts = [state_sha256(components.unet), latent_cache.digest(components), components.scheduler_config]
    return sha256_text(canonical(parts))


def to_uint8(pixels: Tensor) -> Tensor:
    """8-bit pictures on CPU of pixels in [-1, 1]."""
    return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def to_pixels(images: Tensor, device: torch.device) -> Tensor:
    """Pixels in [-1, 1] on `device` of 8-bit pictures."""
    return images.to(device).float() / 127.5 - 1

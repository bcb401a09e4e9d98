"""A model that draws: opened from an artifact whose digests are verified, advanced one UNet pass at a time.

A `Drawing` is one picture in the making, with a scheduler and a generator of its own, so that pictures of different
prompts, seeds and step counts share a pass. Everything random comes from its generator, in the order in which plain
diffusers draws it: a seed gives the picture that `naruto-add generate` gives, up to rounding.
"""

from __future__ import annotations

import copy
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy
import torch
from diffusers import LCMScheduler
from torch import Tensor

from naruto_add.artifact import Artifact, open_artifact, verify
from naruto_add.diffusion.guidance import guided
from naruto_add.diffusion.samplers import dpm_solver
from naruto_add.export.diffusers import open_bundle
from naruto_add.models.load import Components, decode, encode_text, latent_shape, load_components
from serve.compiled import OnProcessor
from serve.pace import Pace

Pixels = numpy.ndarray
TEACHER_STEPS = (1, 50, 25)
"""Fewest, most and default steps of the teacher's solver."""
KEPT_TEXTS = 256
"""Prompts whose embeddings are remembered; one of Stable Diffusion's takes 236 kB."""


@dataclass(frozen=True)
class Ability:
    """What a model can be asked for. `guidance_scale` is the default, None where it has no guidance."""

    name: str
    digest: str
    size_px: int
    min_steps: int
    max_steps: int
    default_steps: int
    guidance_scale: float | None


@dataclass(frozen=True)
class Wish:
    """Everything that decides a picture, beside the weights."""

    prompt: str
    seed: int
    steps: int
    guidance_scale: float | None


@dataclass
class Drawing:
    """A picture in the making: `x_t` and `x0` (1,C,h,w); `texts` (1 or 2,L,D), the prompt and perhaps the empty one."""

    texts: Tensor
    scale: float
    scheduler: Any
    generator: torch.Generator
    x_t: Tensor
    x0: Tensor
    position: int = 0

    @property
    def done(self) -> bool:
        """Whether all passes have been made."""
        return self.position == len(self.scheduler.timesteps)

    @property
    def t(self) -> Tensor:
        """The timestep of the next pass, a scalar."""
        return self.scheduler.timesteps[self.position]

    def follow(self, output: Tensor) -> None:
        """Take the UNet's (guided) output (1,C,h,w): x at the next timestep, and x0 as it looks now."""
        if isinstance(self.scheduler, LCMScheduler):
            step = self.scheduler.step(output, self.t, self.x_t, generator=self.generator)
            self.x_t, self.x0 = step.prev_sample, step.denoised
        else:
            self.x_t = self.scheduler.step(output, self.t, self.x_t).prev_sample
            last = self.position + 1 == len(self.scheduler.timesteps)
            self.x0 = self.x_t if last else self.scheduler.model_outputs[-1]
        self.position += 1


class Networks(Protocol):
    """The UNet and the decoder, wherever they compute; a row's bits depend on that row alone."""

    def predict(self, x_t: Tensor, t: Tensor, texts: Tensor) -> Tensor:
        """The UNet's output (B,C,h,w) of x_t (B,C,h,w) at timesteps t (B,) with texts (B,L,D)."""

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (1,3,H,W), about [-1, 1], of scaled latents (1,C,h,w)."""

    def settle(self, latents: Tensor) -> None:
        """Choose how to decode, by latents (1,C,h,w) of a picture; once, before others are decoded."""


class OnDevice:
    """Both networks in torch, on an accelerator; see `Networks`."""

    def __init__(self, components: Components, condition: Tensor | None, rows: int) -> None:
        self.components, self.condition, self.rows = components, condition, rows

    def predict(self, x_t: Tensor, t: Tensor, texts: Tensor) -> Tensor:
        """See `Networks`."""
        # Kernels are chosen by shape and round differently: every batch is filled up to the same number of rows.
        rows = torch.arange(self.rows).clamp(max=len(x_t) - 1)
        condition = None if self.condition is None else self.condition.expand(self.rows, -1)
        filled = self.components.unet(
            x_t[rows], t[rows].to(x_t.device), encoder_hidden_states=texts[rows], timestep_cond=condition
        )
        return filled.sample[: len(x_t)]

    def decode(self, latents: Tensor) -> Tensor:
        """See `Networks`."""
        return decode(self.components.vae, latents)

    def settle(self, latents: Tensor) -> None:
        """See `Networks`: there is one way."""


class Model:
    """Weights on a device, and how they are used. Not to be shared between threads."""

    def __init__(
        self,
        ability: Ability,
        components: Components,
        schedulers: Callable[[int], Any],
        max_batch: int,
        condition: Tensor | None = None,
    ) -> None:
        self.ability, self.components, self.schedulers = ability, components, schedulers
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for part in (components.unet, components.vae, components.text_encoder):
            part.to(self.device).requires_grad_(False).eval()
        self.max_batch, self.pace = max_batch, Pace()
        self._texts: OrderedDict[str, Tensor] = OrderedDict()
        self.networks = self._networks(condition)

    @torch.inference_mode()
    def _networks(self, condition: Tensor | None) -> Networks:
        """What computes fastest on this device."""
        rows = self.max_batch * (1 if self.ability.guidance_scale is None else 2)
        if self.device.type == "cpu":
            return OnProcessor(self.components, self.ability.digest, condition, self.text("").shape[1:], rows)
        return OnDevice(self.components, None if condition is None else condition.to(self.device), rows)

    @torch.inference_mode()
    def warm_up(self) -> Pixels:
        """Measure the pace, and draw one picture."""
        self._measure_pace()
        drawing = self._first()
        while not drawing.done:
            self.advance([drawing])
        self.networks.settle(drawing.x0)
        self.picture(drawing)  # the first one sets the decoder up
        began = time.perf_counter()
        pixels = self.picture(drawing)
        self.pace.note_decode(time.perf_counter() - began)
        return pixels

    def _first(self) -> Drawing:
        """A drawing to warm up with."""
        return self.start(Wish("A ninja", 0, self.ability.default_steps, self.ability.guidance_scale))

    def _measure_pace(self) -> None:
        """Time a pass of 1, 2, 4 ... and `max_batch` pictures, twice."""
        for count in sorted({*(2**k for k in range(self.max_batch.bit_length())), self.max_batch}):
            for _ in range(2):
                drawings = [self._first() for _ in range(count)]
                began = time.perf_counter()
                self.advance(drawings)
                self.pace.note_pass(count, time.perf_counter() - began)

    @torch.inference_mode()
    def start(self, wish: Wish) -> Drawing:
        """The drawing of a wish, before its first pass."""
        generator = torch.Generator().manual_seed(wish.seed)
        scheduler = self.schedulers(wish.steps)
        x_T = torch.randn(1, *self.latent_shape, generator=generator).to(self.device) * scheduler.init_noise_sigma
        scale = 1.0 if wish.guidance_scale is None else wish.guidance_scale
        texts = [self.text(wish.prompt)] if scale == 1 else [self.text(wish.prompt), self.text("")]
        return Drawing(torch.cat(texts), scale, scheduler, generator, x_T, x_T)

    @torch.inference_mode()
    def advance(self, drawings: Sequence[Drawing]) -> None:
        """One pass of the UNet for all of them, each at its own timestep."""
        counts = [len(drawing.texts) for drawing in drawings]
        x_t = torch.cat([drawing.x_t.expand(n, -1, -1, -1) for drawing, n in zip(drawings, counts, strict=True)])
        t = torch.stack([drawing.t for drawing in drawings]).repeat_interleave(torch.tensor(counts))
        outputs = self.networks.predict(x_t, t, torch.cat([drawing.texts for drawing in drawings])).split(counts)
        for drawing, output in zip(drawings, outputs, strict=True):
            drawing.follow(output if len(output) == 1 else guided(output[:1], output[1:], drawing.scale))

    @torch.inference_mode()
    def picture(self, drawing: Drawing) -> Pixels:
        """The drawing as it looks now, (H,W,3) uint8. One at a time: decoders gain nothing from batches on a CPU."""
        pixels = self.networks.decode(drawing.x0)
        levels = (pixels / 2 + 0.5).clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
        return levels[0].permute(1, 2, 0).contiguous().numpy()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C,h,w) of a latent."""
        return latent_shape(self.components.unet)

    def text(self, prompt: str) -> Tensor:
        """The prompt's embedding (1,L,D), remembered for a while."""
        if prompt not in self._texts:
            self._texts[prompt] = encode_text(self.components, [prompt])[0]
        self._texts.move_to_end(prompt)
        while len(self._texts) > KEPT_TEXTS:
            self._texts.popitem(last=False)
        return self._texts[prompt]


def open_student(bundle: Path, max_batch: int, name: str = "student") -> Model:
    """The few-step student of a bundle, served as `name`; raises UserError for one that is altered or none."""
    artifact = verified(bundle, "bundle")
    pipeline = open_bundle(bundle)
    config, unet = pipeline.scheduler.config, pipeline.unet
    size_px = unet.config.sample_size * pipeline.vae_scale_factor
    most, default = config.original_inference_steps, artifact.manifest.config["export"]["steps"]
    ability = Ability(name, artifact.digest, size_px, 1, most, default, None)
    components = Components(unet, pipeline.vae, pipeline.text_encoder, pipeline.tokenizer, dict(config))
    # what LatentConsistencyModelPipeline embeds by default: its guidance scale of 8.5, less one
    condition = pipeline.get_guidance_scale_embedding(torch.tensor([7.5]), unet.config.time_cond_proj_dim)
    return Model(ability, components, partial(few_step_scheduler, pipeline.scheduler), max_batch, condition)


def few_step_scheduler(template: LCMScheduler, steps: int) -> LCMScheduler:
    """A scheduler for one drawing: they hold state."""
    scheduler = copy.deepcopy(template)
    scheduler.set_timesteps(steps)
    return scheduler


def open_teacher(path: Path, guidance_scale: float, max_batch: int) -> Model:
    """The many-step teacher of a run, with guidance; raises UserError for one that is altered or none."""
    artifact = verified(path, "teacher")
    components = load_components(path)
    factor = 2 ** (len(components.vae.config.block_out_channels) - 1)
    size_px = components.unet.config.sample_size * factor
    ability = Ability("teacher", artifact.digest, size_px, *TEACHER_STEPS, guidance_scale)
    config = components.scheduler_config
    return Model(ability, components, lambda steps: dpm_solver(config, steps, torch.device("cpu")), max_batch)


def verified(path: Path, kind: str) -> Artifact:
    """The artifact at `path`, every file's sha256 checked; raises UserError."""
    artifact = open_artifact(path, kind)
    verify(artifact)
    return artifact

"""A model's UNet and decoder for the processor, compiled by OpenVINO for one row, the UNet for some more rows too.

A picture has the same bits whatever shares its batch: a UNet for more rows is used only where `serve.rows` finds its
bits to be those of the one for one row, so all copies draw alike, whatever each has found. On the shipped student and
a processor with AVX-512, one core, a row takes 9.5 ms alone and 5.3 ms among eight (among sixteen: 4.8 ms). Its decoder
gains nothing from company (1.6 ms each, among eight as well).

Converting takes seconds. What came out is kept in the cache (~/.cache/naruto-add, or what NARUTO_ADD_CACHE names) with
the sha256 of its files, and made anew where they do not match.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from naruto_add.artifact import canonical, sha256_file, sha256_text, write_json
from naruto_add.models.load import Autoencoder, Components, decode, latent_shape
from naruto_add.storage.mirror import cache
from serve.rows import Rows

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# Or importing OpenVINO would report to Intel, through Google Analytics; without the module it uses a stub of its own.
import openvino  # noqa: E402

FORMAT = 2
"""To be raised with every change of what is converted, the embedded guidance scale among it."""
MODEL, WEIGHTS, SUMS = "model.xml", "model.bin", "sha256.json"
SIZES = (2, 4, 8)
"""Rows that the UNet is compiled for beside one; the shipped student: half a second and 70 MiB each."""
MOST_WEIGHTS = 256 * 2**20
"""Bytes of a UNet that is compiled for more rows than one: each compiled one has weights of its own."""
LEAST_PSNR_DB = 20 * math.log10(255)
"""Between a decoder's pictures in bfloat16 and in float32, for bfloat16 to be used: one level of 255 in the mean square
(48.1 dB).
"""

log = logging.getLogger("naruto_add.serve.compiled")  # `serve.logs` writes its lines


class Denoiser(nn.Module):
    """The UNet with what is the same in every pass built in: `condition` (1,D), the embedded guidance scale."""

    def __init__(self, unet: UNet2DConditionModel, condition: Tensor | None) -> None:
        super().__init__()
        self.unet, self.condition = unet, condition

    def forward(self, x_t: Tensor, t: Tensor, texts: Tensor) -> Tensor:
        """Output (B,C,h,w) of `x_t` (B,C,h,w), `t` (B,) and `texts` (B,L,D)."""
        return self.unet(x_t, t, encoder_hidden_states=texts, timestep_cond=self.condition, return_dict=False)[0]


class Decoder(nn.Module):
    """`naruto_add.models.load.decode` as a module."""

    def __init__(self, vae: Autoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        """Pixels (B,3,H,W) of scaled latents (B,C,h,w)."""
        return decode(self.vae, latents)


class Compiled:
    """A network compiled for so many rows, with as many threads as torch has. Not to be shared between threads."""

    def __init__(self, core: openvino.Core, model: openvino.Model, rows: int, precision: str) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # every copy would take the same core
        }
        model.reshape({each: [rows, *(size.get_length() for size in each.partial_shape[1:])] for each in model.inputs})
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The output (rows,...) of inputs (rows,...)."""
        arrays = [each.contiguous().numpy() for each in inputs]
        return torch.from_numpy(self._request.infer(arrays, share_inputs=True)[0])


class OnProcessor:
    """Both networks of a model; see `serve.model.Networks`.

    The UNet computes in float32. So does the decoder until `settle` has compared it with one in bfloat16: that takes a
    fifth of the time on a processor with matrix units (1.6 ms instead of 8.9), and 16 drawings by the shipped student
    were within 49.4 dB of those in float32. float16 would be nearer (68.8 dB), and slower than float32.
    """

    def __init__(
        self, components: Components, digest: str, condition: Tensor | None, text_shape: Sequence[int], rows: int
    ) -> None:
        """Compile the networks of the artifact with this digest and free the weights of torch's; `text_shape` (L,D),
        `rows` those of the largest pass.
        """
        self._latent_shape, self._text_shape = latent_shape(components.unet), text_shape
        self._chance = torch.Generator().manual_seed(0)
        self._core = openvino.Core()
        unet = converted(self._core, Denoiser(components.unet, condition), self._draw(2), digest)
        vae = converted(self._core, Decoder(components.vae), self._draw(2)[:1], digest)
        self.unet = Rows(Compiled(self._core, unet, 1, "f32"))
        self._decoder, self._decoder_model = Rows(Compiled(self._core, vae, 1, "f32")), vae
        if components.unet.get_memory_footprint() <= MOST_WEIGHTS:
            self._add_sizes(unet, rows)
        for part in (components.unet, components.vae):
            part.to("meta")  # their configs stay

    def _add_sizes(self, unet: openvino.Model, rows: int) -> None:
        """Compile the UNet for more rows, up to so many."""
        for size in SIZES:
            if size <= rows:
                self.unet.offer(size, Compiled(self._core, unet, size, "f32"), self._draw)

    def _draw(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Random inputs of the UNet: x_t (rows,C,h,w), t (rows,), texts (rows,L,D)."""
        shapes, chance = (self._latent_shape, self._text_shape), self._chance
        x_t, texts = (torch.randn(rows, *shape, generator=chance) for shape in shapes)
        return x_t, torch.randint(0, 1000, (rows,), generator=chance), texts

    def predict(self, x_t: Tensor, t: Tensor, texts: Tensor) -> Tensor:
        """See `Networks`."""
        return self.unet(x_t, t, texts)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Networks`."""
        return self._decoder(latents)

    def settle(self, latents: Tensor) -> None:
        """Decode in bfloat16 from now on if this processor can and these latents then look the same."""
        model, self._decoder_model = self._decoder_model, None
        if model is None or "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return
        quick = Rows(Compiled(self._core, model, 1, "bf16"))
        if psnr(quick(latents), self.decode(latents)) >= LEAST_PSNR_DB:
            self._decoder = quick


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1], clamped; infinite for equal ones."""
    error = (a.clamp(-1, 1) - b.clamp(-1, 1)).square().mean()
    return float(10 * torch.log10(4 / error))


def converted(core: openvino.Core, network: nn.Module, inputs: Sequence[Tensor], digest: str) -> openvino.Model:
    """The network of the artifact with this digest, for any number of rows of these inputs: out of the cache, or made
    and kept.

    What is made is read from files too: a model that has been written and read rounds otherwise than one that has not,
    and the first start would give other bits than the next.
    """
    folder = place(type(network).__name__, inputs, digest)
    model = read(core, folder)
    if model is not None:
        return model
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        made.mkdir()
        openvino.save_model(convert(network, inputs), made / MODEL, compress_to_fp16=False)
        try:
            keep(made, folder)
        except OSError as error:
            log.warning("%s: could not be kept (%s); the next start converts the model again", folder, error)
        return core.read_model(made / MODEL, made / WEIGHTS)


def place(part: str, inputs: Sequence[Tensor], digest: str) -> Path:
    """Where a converted network is kept: a name of all that decides what is in it."""
    versions = [openvino.__version__, torch.__version__, diffusers.__version__]
    return cache() / "openvino" / sha256_text(canonical([FORMAT, digest, part, shapes(inputs), versions]))[:32]


def shapes(inputs: Sequence[Tensor]) -> list[list[int]]:
    """Theirs with any number of rows."""
    return [[-1, *each.shape[1:]] for each in inputs]


def convert(network: nn.Module, inputs: Sequence[Tensor]) -> openvino.Model:
    """Trace the network and fix its shapes but for the rows; inputs of one row would be built in as such."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's: what depends on a shape becomes a constant, as is wanted
        model = openvino.convert_model(network.eval(), example_input=tuple(inputs))
    model.reshape(dict(zip(model.inputs, shapes(inputs), strict=True)))
    return model


def read(core: openvino.Core, folder: Path) -> openvino.Model | None:
    """What is kept there; None if that is nothing, or not what was written."""
    try:
        known = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        if known != sums(folder):
            log.warning("%s: its content changed; converting the model again", folder)
            return None
        return core.read_model(folder / MODEL, folder / WEIGHTS)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RuntimeError) as error:
        log.warning("%s: not readable (%s); converting the model again", folder, error)
        return None


def sums(folder: Path) -> dict[str, str]:
    """The sha256 of both files."""
    return {name: sha256_file(folder / name) for name in (MODEL, WEIGHTS)}


def keep(made: Path, folder: Path) -> None:
    """Copy a converted network's files aside and put them there, in place of what is damaged; raises OSError."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as name:
        aside = Path(name) / folder.name
        shutil.copytree(made, aside)
        write_json(aside / SUMS, sums(aside))
        if folder.exists():
            shutil.move(folder, Path(name) / "damaged")
        os.replace(aside, folder)

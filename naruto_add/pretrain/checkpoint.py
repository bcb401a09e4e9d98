"""One safetensors file with everything that pre-training must keep: weights, optimizers, the average, images seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

NAME = "checkpoint.safetensors"


def save(folder: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], ema: EMAModel, seen: int) -> None:
    """Write aside and rename into place."""
    state = {f"model/{name}": parameter.detach() for name, parameter in model.named_parameters()}
    state |= {f"ema/{number}": shadow for number, shadow in enumerate(ema.shadow_params)}
    for number, optimizer in enumerate(optimizers):
        for parameter, moments in optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{number}/{parameter}/{key}": torch.as_tensor(v) for key, v in moments.items()}
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"images": str(seen), "updates": str(ema.optimization_step)}
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / ".partial", metadata=metadata)
    (folder / ".partial").replace(folder / NAME)


def load(folder: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], ema: EMAModel) -> int:
    """Restore what `save` wrote; returns the images seen, 0 where there is nothing."""
    path = folder / NAME
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(state[f"model/{name}"])
    for number, shadow in enumerate(ema.shadow_params):
        shadow.copy_(state[f"ema/{number}"])
    for number, optimizer in enumerate(optimizers):
        plain = optimizer.state_dict()
        optimizer.load_state_dict({**plain, "state": moments_of(state, f"optimizer/{number}/")})
    ema.optimization_step = int(metadata["updates"])
    return int(metadata["images"])


def moments_of(state: dict[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    """The entries below `prefix` as an optimizer's state: parameter number -> name -> tensor."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name.startswith(prefix):
            number, key = name.removeprefix(prefix).split("/")
            moments.setdefault(int(number), {})[key] = tensor
    return moments

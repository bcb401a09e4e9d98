"""One safetensors file with everything that pre-training must keep: weights, both moments, the average, images seen."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

NAME = "checkpoint.safetensors"


def save(folder: Path, model: nn.Module, optimizer: torch.optim.Adam, ema: EMAModel, seen: int) -> None:
    """Write aside and rename into place."""
    state = {}
    for number, (name, parameter) in enumerate(model.named_parameters()):
        moments = optimizer.state[parameter]
        state[f"model/{name}"] = parameter.detach().contiguous()
        state[f"mean/{name}"] = moments["exp_avg"].contiguous()
        state[f"square/{name}"] = moments["exp_avg_sq"].contiguous()
        state[f"step/{name}"] = moments["step"]
        state[f"ema/{name}"] = ema.shadow_params[number].contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / ".partial", metadata={"images": str(seen), "updates": str(ema.optimization_step)})
    (folder / ".partial").replace(folder / NAME)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Adam, ema: EMAModel) -> int:
    """Restore what `save` wrote; returns the images seen, 0 where there is nothing."""
    path = folder / NAME
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    for number, (name, parameter) in enumerate(model.named_parameters()):
        parameter.data.copy_(state[f"model/{name}"])
        moments = {"exp_avg": state[f"mean/{name}"], "exp_avg_sq": state[f"square/{name}"], "step": state[f"step/{name}"]}
        optimizer.state[parameter] = moments
        ema.shadow_params[number].copy_(state[f"ema/{name}"])
    ema.optimization_step = int(metadata["updates"])
    return int(metadata["images"])

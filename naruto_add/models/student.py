"""Compact students: the block surgery of BK-SDM (Kim et al. 2023, section 3) written as data.

A surgery says which layers of each stage stay. It is worked out from the teacher's config, so it applies to any UNet
with two layers per block: Stable Diffusion 1.x and 2.x (four stages), our mini base (three).

Why the layers fit: in a down stage layer 0 maps the stage's input width, layer 1 keeps the width. In an up stage each
layer takes the running features and one skip connection; the first and the last are the only ones whose widths are
their own (the previous stage's features, the earlier stage's skip), so a stage of two layers inherits layers 0 and 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from naruto_add import rng
from naruto_add.errors import UserError, raise_all
from naruto_add.models.bfloat16 import is_suited, suit_cpu
from naruto_add.models.folder import HEAD_START_FILE

Size = Literal["full", "base", "small", "tiny"]

PER_STAGE = (
    "block_out_channels",
    "down_block_types",
    "attention_head_dim",
    "cross_attention_dim",
    "only_cross_attention",
    "transformer_layers_per_block",
)
"""Config entries that may hold one value a stage, outermost first; up_block_types runs the other way."""


LAYERS = ("resnets", "attentions")
SCALE = "/scale"
"""Ends the name of what an eight-bit tensor of a head start is multiplied by."""
INT8_MAX = 127
BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)(?=\.|$)")
"""A layer (resnets, attentions) or a resampler of a stage."""


@dataclass(frozen=True)
class Surgery:
    """What stays: layers of every down and up stage, the mid block, and how many innermost stages are dropped."""

    down_layers: tuple[int, ...]
    up_layers: tuple[int, ...]
    has_mid: bool
    dropped_stages: int


SURGERIES: dict[Size, Surgery] = {
    "full": Surgery(down_layers=(0, 1), up_layers=(0, 1, 2), has_mid=True, dropped_stages=0),
    "base": Surgery(down_layers=(0,), up_layers=(0, 2), has_mid=True, dropped_stages=0),
    "small": Surgery(down_layers=(0,), up_layers=(0, 2), has_mid=False, dropped_stages=0),
    "tiny": Surgery(down_layers=(0,), up_layers=(0, 2), has_mid=False, dropped_stages=1),
}


def student_config(teacher_config: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """The student's UNet config; raises UserError if the teacher's anatomy is not the one that BK-SDM cuts."""
    check_anatomy(teacher_config, size)
    surgery = SURGERIES[size]
    config = {key: value for key, value in teacher_config.items() if not key.startswith("_")}
    config["layers_per_block"] = len(surgery.down_layers)
    if not surgery.has_mid:
        config["mid_block_type"] = None
    stages = len(config["block_out_channels"]) - surgery.dropped_stages
    for key in PER_STAGE:
        if isinstance(config.get(key), (list, tuple)):
            config[key] = list(config[key][:stages])
    config["up_block_types"] = list(config["up_block_types"][surgery.dropped_stages :])
    return config


def check_anatomy(teacher_config: Mapping[str, Any], size: Size) -> None:
    """Raise UserError unless every stage has two layers and enough stages are left."""
    layers = teacher_config["layers_per_block"]
    stages = len(teacher_config["block_out_channels"])
    problems = []
    if size != "full" and set(layers if isinstance(layers, (list, tuple)) else [layers]) != {2}:
        problems.append(
            f"distill.size {size}: the teacher has {layers} layers per block, the surgery cuts 2; use full."
        )
    if stages - SURGERIES[size].dropped_stages < 2:
        problems.append(f"distill.size {size}: the teacher has only {stages} stages; use base or small.")
    raise_all(problems)


def teacher_name(name: str, surgery: Surgery) -> str:
    """The teacher's module or weight that the student's `name` comes from."""
    block = BLOCK.match(name)
    if block is None:
        return name
    side, stage, kind, layer = block[1], int(block[2]), block[3], int(block[4])
    if kind in LAYERS:
        layer = (surgery.down_layers if side == "down" else surgery.up_layers)[layer]
    if side == "up":
        stage += surgery.dropped_stages
    return f"{side}_blocks.{stage}.{kind}.{layer}{name[block.end() :]}"


def inherit(teacher: UNet2DConditionModel, size: Size) -> tuple[UNet2DConditionModel, dict[str, str]]:
    """A student with copies of the teacher's weights, and for each of its weights the teacher's that it came from.

    Where a dropped stage was wider than the one before it (`tiny` on mini), the first up layer's input is cut to the
    student's width: see `cut_input`. Raises UserError as `student_config` does.
    """
    student = empty_student(teacher, size)
    origin = {name: teacher_name(name, SURGERIES[size]) for name in student.state_dict()}
    weights = teacher.state_dict()
    skip = student.config["block_out_channels"][-1]
    copies = {
        name: cut_input(weights[origin[name]], meta.shape, skip).clone() for name, meta in student.state_dict().items()
    }
    student.load_state_dict(copies, assign=True)
    return student.train(teacher.training), origin


def empty_student(teacher: UNet2DConditionModel, size: Size) -> UNet2DConditionModel:
    """The student's modules without memory for weights, computing as the teacher's do."""
    with torch.device("meta"):
        student = UNet2DConditionModel.from_config(student_config(teacher.config, size))
    return suit_cpu(student) if is_suited(teacher) else student


def cut_input(weight: Tensor, shape: torch.Size, skip: int) -> Tensor:
    """`weight` with its input channels cut to `shape`: the input is (features, skip connection); features are cut.

    Input channels are dimension 1 of a convolution and 0 of a norm. Returns `weight` itself if nothing is to be cut.
    """
    if weight.shape == shape:
        return weight
    dim = 1 if weight.ndim > 1 else 0
    kept = torch.cat([torch.arange(shape[dim] - skip), torch.arange(weight.shape[dim] - skip, weight.shape[dim])])
    return weight.index_select(dim, kept.to(weight.device))


def tie(teacher: UNet2DConditionModel, size: Size) -> UNet2DConditionModel:
    """The compact UNet whose parameters are the teacher's very own: training one trains the other.

    Raises UserError as `student_config` does, and if the surgery would have to cut weights (`tiny` on mini).
    """
    surgery = SURGERIES[size]
    widths = teacher.config["block_out_channels"]
    if surgery.dropped_stages and widths[-1] != widths[-2]:
        raise UserError(
            f"teacher.compact_share with distill.size {size} needs equally wide innermost stages: {widths}."
        )
    compact = empty_student(teacher, size)
    for name in shared_modules(compact):
        compact.set_submodule(name, teacher.get_submodule(teacher_name(name, surgery)))
    assert not any(parameter.is_meta for parameter in compact.parameters())
    return compact.train(teacher.training)


def shared_modules(unet: UNet2DConditionModel) -> list[str]:
    """Paths of the modules that `teacher_name` maps one to one and that together hold all weights."""
    blocks = [name for name, _ in unet.named_modules() if BLOCK.fullmatch(name)]
    others = [name for name, _ in unet.named_children() if name not in ("down_blocks", "up_blocks")]
    return blocks + others


def save_head_start(student: UNet2DConditionModel, surgery_of_base: UNet2DConditionModel, folder: Path) -> None:
    """Write student - surgery(base): what few-step training changed, to be added to another fine-tune; see `packed`."""
    before = surgery_of_base.state_dict()
    deltas = {name: weight - before[name] for name, weight in student.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(packed(deltas), folder / HEAD_START_FILE)


def packed(deltas: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels in a byte a number, with a float32 scale for each output; vectors in float16.

    Of `mini`'s vector that loses 0.8 % of the norm, and half of the size.
    """
    found = {name: delta.half().contiguous() for name, delta in deltas.items() if delta.ndim < 2}
    for name, delta in deltas.items():
        if delta.ndim >= 2:
            scale = delta.float().abs().amax(dim=tuple(range(1, delta.ndim)), keepdim=True) / INT8_MAX
            steps = delta.float() / scale.clamp(min=torch.finfo(torch.float32).tiny)
            found |= {name: steps.round().to(torch.int8).contiguous(), name + SCALE: scale}
    return found


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` was given; versions before it wrote float16, which is read as it is."""
    return {
        name: tensor.float() * stored[name + SCALE] if name + SCALE in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(SCALE)
    }


def save_random_start(teacher: UNet2DConditionModel, size: Size, seed: int, folder: Path) -> None:
    """Write a head start that leaves nothing of the inherited weights, to see what they are worth (ADD, table 1c)."""
    inherited, _ = inherit(teacher, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.address(seed, "random-start"))
        fresh = UNet2DConditionModel.from_config(student_config(teacher.config, size))
    save_head_start(fresh, inherited, folder)


@torch.no_grad()
def add_head_start(student: UNet2DConditionModel, folder: Path) -> None:
    """Add the deltas of `save_head_start` to the student's weights, in place.

    Raises UserError if the file is missing or unreadable, or was made for another student.
    """
    path = folder / HEAD_START_FILE
    try:
        deltas = unpacked(load_file(path))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"distill.head_start: {path} is not there or not readable ({type(error).__name__}). "
            "Give a folder made by save_head_start, `mini`, or null for none."
        ) from error
    weights = student.state_dict()
    raise_all(misfits(weights, deltas, path))
    for name, weight in weights.items():
        weight += deltas[name].to(weight)


def misfits(weights: Mapping[str, Tensor], deltas: Mapping[str, Tensor], path: Path) -> list[str]:
    """One message if names or shapes differ, else none."""
    differing = [n for n in weights.keys() | deltas.keys() if shape_of(weights, n) != shape_of(deltas, n)]
    if not differing:
        return []
    first = min(differing)
    return [
        f"distill.head_start: {path} was made for another student: {len(differing)} weights differ, first {first} "
        f"(student {shape_of(weights, first)}, head start {shape_of(deltas, first)}). Check distill.size and "
        "teacher.base, or set distill.head_start to null."
    ]


def shape_of(tensors: Mapping[str, Tensor], name: str) -> list[int] | None:
    """The shape of a tensor, or None if it is not there."""
    return list(tensors[name].shape) if name in tensors else None

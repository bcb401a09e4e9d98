"""Memory of training by part, in bytes: exact arithmetic on parameter counts, as training/player.py and zero.py hold
them. Weights, gradients, moments and averages are float32 in every precision (autocast makes bfloat16 as it goes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import nn

FP32, BF16 = 4, 2
MOMENTS = 2
"""Of AdamW, each of a parameter's size."""
CONTEXT_BYTES = 2**30
"""What the GPU's driver and libraries take beside torch: an assumption."""
USABLE = 0.95
"""Share of the rest that fragmentation and passing buffers leave: an assumption."""


@dataclass(frozen=True)
class Learner:
    """One player, in numbers of values."""

    trained: int
    frozen: int
    """Parameters of the same module that do not learn, as beside adapters."""
    buffers: int
    shards: bool
    """Whether ZeRO may divide it; the discriminator's heads stay whole."""

    @staticmethod
    def of(module: nn.Module, shards: bool = True) -> Learner:
        """The numbers of a module."""
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
        return Learner(trained, frozen, sum(b.numel() for b in module.buffers()), shards)


@dataclass(frozen=True)
class Parts:
    """Bytes on one GPU (or worker)."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    """AdamW's moments; from ZeRO stage 1 on also the float32 master copy of this GPU's share."""
    ema: int = 0
    exchange: int = 0
    """Passing buffers: gradients in one piece for their average (stages 0 to 2), weights gathered whole (stage 3)."""
    frozen: int = 0
    """Networks that do not learn."""
    held: int = 0
    """What the student's turn leaves for the heads' turn, over all micro-batches: an estimate."""
    activations: int = 0
    """What autograd keeps of one micro-batch: an estimate."""

    @property
    def total(self) -> int:
        """All of it, as if every part were there at the same moment."""
        return sum(getattr(self, part.name) for part in fields(self))

    def __add__(self, other: Parts) -> Parts:
        """Part by part."""
        return Parts(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))


def learner_parts(learner: Learner, stage: int, workers: int) -> Parts:
    """One player under a ZeRO stage; 0 is also plain torch."""
    stage = stage if learner.shards else 0
    whole, rest = FP32 * learner.trained, FP32 * (learner.frozen + learner.buffers)
    share = -(-whole // workers)
    moments = MOMENTS * (share if stage else whole)
    return Parts(
        weights=rest + (share if stage == 3 else whole),
        gradients=share if stage >= 2 else whole,
        optimizer=moments + (share if stage else 0),
        ema=whole + FP32 * learner.buffers,
        exchange=whole if stage or workers > 1 else 0,
    )


def training_parts(learners: Sequence[Learner], frozen: int, stage: int, workers: int) -> Parts:
    """All players, and `frozen` values of networks that do not learn; without activations."""
    return sum((learner_parts(learner, stage, workers) for learner in learners), Parts(frozen=FP32 * frozen))


def largest_micro_batch(fixed: Parts, bytes_per_image: int, memory_bytes: float) -> int:
    """Images a micro-batch that fit beside the other parts; 0 if not even one does."""
    left = (memory_bytes - CONTEXT_BYTES) * USABLE - fixed.total
    return max(0, int(left // bytes_per_image))


def sent_bytes(trained: int, stage: int, workers: int, accumulation: int) -> float:
    """What one worker sends in a step for so many trained values, through rings (Rajbhandari et al. 2020, section 7).

    Stages 0 and 1 average gradients once a step: twice the values. From stage 2 on gradients are divided after every
    micro-batch, and weights collected once a step; in stage 3 twice a micro-batch.
    """
    once = FP32 * trained * (workers - 1) / workers
    return once * {0: 2, 1: 2, 2: accumulation + 1, 3: 3 * accumulation}[stage]

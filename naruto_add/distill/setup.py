"""What a distillation is set up from: the recipe's section and the networks and machinery that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from naruto_add.config import DistillConfig
from naruto_add.models.features import FeatureNet
from naruto_add.models.load import Components
from naruto_add.training.engine import EngineFactory, TorchEngine


@dataclass(frozen=True)
class Setup:
    """All that decides a distillation before its first step; the same for every method."""

    config: DistillConfig
    teacher: Components
    """The base to distill; its networks are moved to `device` and frozen."""
    features: FeatureNet | None = None
    """What looks at pixels; None where the method stays among latents."""
    seed: int = 0
    engine: EngineFactory = TorchEngine
    """The student's; the heads' is always plain torch, because R1 differentiates twice."""
    device: torch.device | str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    captions: Sequence[str] = ()
    """Training captions, from which `mismatch_weight` takes its mismatched pairs."""

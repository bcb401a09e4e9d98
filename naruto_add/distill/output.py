"""Plain distillation: the student repeats in one pass what the guided teacher makes of the same input in several.

Luhman & Luhman 2021 (arXiv 2101.02388) from pure noise; here from each of the student's timesteps. With
`feature_weight` it also repeats the teacher's features at the end of every stage that it has kept, as BK-SDM does
(Kim et al. 2023, its terms OutKD and FeatKD).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, CrossAttnUpBlock2D
from torch import Tensor, nn

from naruto_add.data.batch import Batch
from naruto_add.diffusion import losses
from naruto_add.diffusion.guidance import predict
from naruto_add.distill.judges import trajectory_end
from naruto_add.distill.method import Regression


class OutputDistillation(Regression):
    """The method: one player, the student."""

    def terms(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        """|x_hat - x_teacher|^2 + feature_weight x sum_l |f_S - f_T|^2 on one micro-batch."""
        config, judges = self.config, self.judges
        x_s, s, _ = self.student_input(batch, seed)
        mine, theirs = stages(self.student.module, judges.teacher) if config.feature_weight else ([], [])
        with watched(mine) as features:
            x_hat = judges.schedule.to_x0(predict(self.student.module, x_s, s, batch.text), x_s, s)
        target = trajectory_end(config, judges, batch.text, x_s, s)
        output = losses.distillation(x_hat, target, torch.ones(len(s)))
        if not config.feature_weight:
            return {"student_loss": output, "output": output}
        with torch.no_grad(), watched(theirs) as wanted:
            predict(judges.teacher, x_s, s, batch.text)
        likeness = losses.feature_distillation(features, wanted)
        return {"student_loss": output + config.feature_weight * likeness, "output": output, "features": likeness}


def stages(student: nn.Module, teacher: UNet2DConditionModel) -> tuple[list[nn.Module], list[nn.Module]]:
    """The last layer of each of the student's stages, and that of the teacher's stage which it was cut from.

    Surgery drops the innermost stages, the teacher's last on the way down and its first on the way up; those left have
    equal widths and resolutions.
    """
    assert isinstance(student, UNet2DConditionModel)
    kept = len(student.down_blocks)
    dropped = len(teacher.up_blocks) - kept
    theirs = [*teacher.down_blocks[:kept], *teacher.up_blocks[dropped:]]
    return [last_layer(b) for b in (*student.down_blocks, *student.up_blocks)], [last_layer(b) for b in theirs]


def last_layer(block: nn.Module) -> nn.Module:
    """What computes a stage's features last, before they are resampled."""
    layers = block.attentions if isinstance(block, (CrossAttnDownBlock2D, CrossAttnUpBlock2D)) else block.resnets
    assert isinstance(layers, nn.ModuleList)
    return layers[-1]


@contextmanager
def watched(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects what the modules return while inside, in the order of the list."""
    seen: list[Tensor] = [torch.empty(0)] * len(modules)

    def keep(place: int, module: nn.Module, inputs: Any, output: Any) -> None:
        seen[place] = (output[0] if isinstance(output, tuple) else output).float()

    handles = [module.register_forward_hook(partial(keep, place)) for place, module in enumerate(modules)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()

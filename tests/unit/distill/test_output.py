"""Output and feature distillation."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from naruto_add.config import DistillConfig
from naruto_add.diffusion.dpm_solver import solve
from naruto_add.distill import OutputDistillation
from naruto_add.distill.output import last_layer, stages, watched
from naruto_add.models.student import Size, inherit
from tests.tiny import EPSILON, V_ZERO_SNR, tiny_unet
from tests.unit.distill.tools import BATCH, OPTIM, STATE, Recorder, make, norm_of

CONFIG = DistillConfig(optim=OPTIM, method="output", teacher_steps=3, teacher_guidance=2.0)


def output(config: DistillConfig = CONFIG, scheduler_config: dict[str, object] = V_ZERO_SNR) -> OutputDistillation:
    method = make(config, scheduler_config)
    assert isinstance(method, OutputDistillation)
    return method


@pytest.mark.parametrize("scheduler_config", [V_ZERO_SNR, EPSILON])
def test_the_loss_is_the_distance_to_the_teachers_result_and_to_its_features(
    scheduler_config: dict[str, object],
) -> None:
    method = output(scheduler_config=scheduler_config)
    judges, student = method.judges, method.student.module
    terms = method.terms(BATCH, 0)
    x_s, s, _ = method.student_input(BATCH, 0)
    mine, theirs = [], []
    for unet, seen in ((student, mine), (judges.teacher, theirs)):
        for block in (*unet.down_blocks, *unet.up_blocks):
            layer = block.attentions[-1] if hasattr(block, "attentions") else block.resnets[-1]
            layer.register_forward_hook(
                lambda _, __, out, to=seen: to.append(out[0] if isinstance(out, tuple) else out)
            )
    target = solve(judges.teacher, judges.schedule, x_s, s, BATCH.text, judges.uncond_text, 2.0, 3)
    theirs.clear()
    with torch.no_grad():
        x_hat = judges.schedule.to_x0(student(x_s, s, encoder_hidden_states=BATCH.text).sample, x_s, s)
        judges.teacher(x_s, s, encoder_hidden_states=BATCH.text)
    features = sum((a - b).square().mean() for a, b in zip(mine, theirs, strict=True))
    torch.testing.assert_close(terms["output"].detach(), (x_hat - target).square().mean())
    torch.testing.assert_close(terms["features"].detach(), features)
    torch.testing.assert_close(terms["student_loss"], terms["output"] + terms["features"])


@pytest.mark.parametrize("size", get_args(Size))
def test_every_stage_that_is_kept_has_its_teacher(size: Size) -> None:
    teacher = tiny_unet()
    student, _ = inherit(teacher, size)
    mine, theirs = stages(student, teacher)
    with watched(mine) as features, watched(theirs) as wanted:
        for unet in (student, teacher):
            unet(BATCH.latents, torch.tensor([500] * 4), encoder_hidden_states=BATCH.text)
    assert len(mine) == 2 * len(student.down_blocks)
    assert [f.shape for f in features] == [w.shape for w in wanted]
    assert theirs[-1] is last_layer(teacher.up_blocks[-1])
    if size == "full":
        assert all(torch.equal(f, w) for f, w in zip(features, wanted, strict=True))


def test_features_alone_teach_the_student() -> None:
    method = output()
    method.student.backward(method.terms(BATCH, 0)["features"])
    assert norm_of(method.student.module.down_blocks[0]) > 0
    assert method.student.module.conv_out.weight.grad is None  # behind the last stage


def test_gradient_checkpointing_changes_nothing() -> None:
    plain = output().step(BATCH, STATE)
    saved = output(replace(CONFIG, optim=replace(OPTIM, gradient_checkpointing=True))).step(BATCH, STATE)
    assert saved == pytest.approx(plain, rel=1e-4)


def test_without_its_weight_no_features_are_computed() -> None:
    method = output(replace(CONFIG, feature_weight=0.0))
    asked = Recorder(method.judges.teacher)
    log = method.step(BATCH, STATE)
    assert "features" not in log and log["student_loss"] == log["output"]
    assert [len(x) for x in asked.inputs] == [8, 8, 8]  # the solver's guided passes


def test_a_few_steps_bring_it_nearer_to_the_teacher() -> None:
    method = output()
    losses = [method.step(BATCH, STATE)["student_loss"] for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]

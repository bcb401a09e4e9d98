"""LADD: the teacher's own maps of re-noised latents, and nothing decoded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from naruto_add import rng
from naruto_add.config import DistillConfig
from naruto_add.diffusion.levels import flow_times, timesteps_at
from naruto_add.distill import Add
from naruto_add.distill.eyes import encoder_maps
from naruto_add.models.features import state_sha256
from tests.tiny import EPSILON, V_ZERO_SNR, tiny_unet
from tests.unit.distill.tools import BATCH, OPTIM, STATE, Recorder, make, norm_of

CONFIG = DistillConfig(optim=OPTIM, method="ladd", distill_weight=0.0)


def ladd(config: DistillConfig = CONFIG, scheduler_config: dict[str, object] = V_ZERO_SNR) -> Add:
    method = make(config, scheduler_config)
    assert isinstance(method, Add)
    return method


def test_the_maps_are_those_of_the_unets_own_forward() -> None:
    unet, seen = tiny_unet(), []

    def keep(_: object, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    for block in (*unet.down_blocks, unet.mid_block):
        block.register_forward_hook(keep)
    x_t, t, text = BATCH.latents, torch.tensor([3, 500, 700, 999]), BATCH.text
    maps = encoder_maps(unet, x_t, t, text)
    seen.clear()
    unet(x_t, t, encoder_hidden_states=text)
    assert len(maps) == 4 and all(torch.equal(a, b) for a, b in zip(maps, seen, strict=True))


def test_the_teacher_looks_at_both_through_the_same_logit_normal_noise() -> None:
    method = ladd()
    judges = method.judges
    seen = Recorder(judges.teacher.conv_in)
    shown, (sight,), _ = method._student_turn(BATCH, STATE)
    t = timesteps_at(judges.schedule, flow_times(rng.normal((), 0, "heads-level-0", BATCH.positions), 1.0, 1.0))
    eps = rng.normal((4, 8, 8), 0, "heads-noise-0", BATCH.positions)
    real, fake = seen.inputs
    torch.testing.assert_close(real, judges.schedule.add_noise(BATCH.latents, eps, t))
    torch.testing.assert_close(fake, judges.schedule.add_noise(shown.fake.latents, eps, t))
    assert [level.shape[1] for level in sight.real] == method.eyes[0].channels
    assert sight.condition is not None and sight.condition.shape == (4, 32 + 8)  # caption and noise level
    assert len(sight.condition[:, 32:].unique(dim=0)) == len(t.unique())


def test_nothing_is_decoded() -> None:
    method = ladd(replace(CONFIG, distill_weight=2.5))
    decoder = Recorder(method.judges.vae.decoder)
    method.step(BATCH, STATE)
    assert not decoder.inputs


def test_the_adversarial_gradient_reaches_the_student_through_the_teacher() -> None:
    method = ladd()
    before = state_sha256(method.judges.teacher)
    method._student_turn(BATCH, STATE)
    assert norm_of(method.student.module) > 0
    assert all(p.grad is not None for p in method.student.module.parameters())
    assert all(p.grad is None for p in method.heads.module.parameters())
    assert state_sha256(method.judges.teacher) == before


def test_in_the_heads_turn_the_student_gets_no_gradient() -> None:
    method = ladd()
    _, sights, _ = method._student_turn(BATCH, STATE)
    method.student.step(1e-3)
    method._judge(sights)
    assert norm_of(method.student.module) == 0 and norm_of(method.heads.module) > 0


def test_without_its_weight_the_teacher_is_not_asked_to_distill() -> None:
    method = ladd()
    asked = Recorder(method.judges.teacher)
    assert method.step(BATCH, STATE)["distillation"] == 0 and not asked.inputs


def test_distillation_is_between_latents() -> None:
    method = ladd(replace(CONFIG, distill_weight=2.5, adversarial_weight=0.0, student_timesteps=(999,)))
    distances = [method.step(BATCH, STATE)["distillation"] for _ in range(12)]
    assert distances[-1] < 0.7 * distances[0]


@pytest.mark.parametrize("scheduler_config", [V_ZERO_SNR, EPSILON])
def test_the_heads_learn_to_tell_real_from_generated(scheduler_config: dict[str, object]) -> None:
    method = ladd(replace(CONFIG, heads_learning_rate=3e-3, heads_steps=2), scheduler_config)
    gaps = [method.step(BATCH, STATE)["logit_gap"] for _ in range(8)]
    assert gaps[-1] > gaps[0] + 0.2


def test_the_student_learns_to_please_the_heads() -> None:
    optim = replace(OPTIM, learning_rate=1e-2)
    method = ladd(replace(CONFIG, optim=optim, heads_learning_rate=1e-9, student_timesteps=(999,)))
    verdicts = [method.step(BATCH, STATE)["d_fake"] for _ in range(8)]
    assert verdicts[-1] > verdicts[0] + 0.002


def test_a_later_turn_is_noised_anew_and_the_heads_are_told() -> None:
    method = ladd()
    shown, (first,), _ = method._student_turn(BATCH, STATE)
    (second,) = method._look_again(shown, 1, 0)
    (again,) = method._look_again(shown, 0, 0)
    assert not torch.equal(first.condition, second.condition) and torch.equal(first.condition, again.condition)
    torch.testing.assert_close(first.fake, again.fake)
    assert not torch.allclose(first.real[0], second.real[0])

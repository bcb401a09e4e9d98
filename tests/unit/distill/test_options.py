"""What ADD can be asked for beside the paper's recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from naruto_add import rng
from naruto_add.config import DistillConfig
from naruto_add.diffusion import losses
from naruto_add.diffusion.dpm_solver import solve
from naruto_add.diffusion.samplers import few_steps, sample_student
from naruto_add.distill import Add
from naruto_add.distill.add import CALM
from naruto_add.distill.eyes import LatentEye, PixelEye
from naruto_add.distill.judges import opinion
from tests.tiny import EPSILON, V_ZERO_SNR
from tests.unit.distill.tools import BATCH, CAPTIONS, OPTIM, STATE, Recorder, batch_of, everything, make, norm_of

CONFIG = DistillConfig(optim=OPTIM)


def add(config: DistillConfig = CONFIG, scheduler_config: dict[str, object] = V_ZERO_SNR) -> Add:
    method = make(config, scheduler_config)
    assert isinstance(method, Add)
    return method


# Backward simulation


@pytest.mark.parametrize("scheduler_config", [V_ZERO_SNR, EPSILON])
def test_simulated_inputs_are_the_students_own_on_its_way(scheduler_config: dict[str, object]) -> None:
    """What it is trained on at tau_n is what `sample_student` hands to its pass at tau_n."""
    method, batch = add(replace(CONFIG, simulated_share=1.0), scheduler_config), batch_of(list(range(8)))
    schedule, student, timesteps = method.judges.schedule, method.student.module, CONFIG.student_timesteps
    x_s, s, knows_x0 = method.student_input(batch, seed=3)
    falling = few_steps(timesteps, 4)
    x_T = rng.normal((4, 8, 8), 3, "simulated-x_T", batch.positions)
    noises = [rng.normal((4, 8, 8), 3, f"simulated-{t}", batch.positions) for t in falling[1:]]
    eps = rng.normal((4, 8, 8), 3, "student-noise", batch.positions)
    assert len(s.unique()) == 4 and not knows_x0.any()
    for row, t in enumerate(s.tolist()):
        one = slice(row, row + 1)
        passes = falling.index(t)
        if passes:
            upto = [n[one] for n in noises[: passes - 1]]
            x0 = sample_student(student, schedule, x_T[one], batch.text[one], falling[:passes], upto)
            expected = schedule.add_noise(x0, eps[one], s[one])
        else:
            expected = eps[one]
        torch.testing.assert_close(x_s[one], expected, rtol=1e-3, atol=1e-3)


def test_a_share_is_simulated_and_the_others_are_real() -> None:
    plain, mixed, batch = add(), add(replace(CONFIG, simulated_share=0.5)), batch_of(list(range(40)))
    real, s, knew = plain.student_input(batch, 0)
    x_s, _, knows_x0 = mixed.student_input(batch, 0)
    simulated = rng.uniform(0, "simulate", batch.positions) < 0.5
    assert torch.equal(knows_x0, knew & ~simulated) and 5 < knows_x0.sum() < 25
    same = (x_s == real).flatten(1).all(1)
    assert torch.equal(same, ~simulated | (s == 999))


def test_no_gradient_passes_through_the_simulation() -> None:
    method = add(replace(CONFIG, simulated_share=1.0))
    assert not method.student_input(BATCH, 0)[0].requires_grad


def test_the_heads_are_told_no_image_that_the_student_never_saw() -> None:
    method = add(replace(CONFIG, simulated_share=1.0, terminal_share=0.0))
    _, (sight,), _ = method._student_turn(BATCH, STATE)
    assert sight.condition is not None and sight.condition[:, 32:].abs().max() == 0


# The distillation term


def test_the_perceptual_distance_joins_the_squared_one() -> None:
    plain, both = add(), add(replace(CONFIG, perceptual_weight=2.0))
    shown, _, terms = plain._student_turn(BATCH, STATE)
    judges = plain.judges
    expected = both._student_turn(BATCH, STATE)[2]["distillation"] - terms["distillation"]
    target, c = opinion(CONFIG, judges, BATCH.text, shown.fake.latents, BATCH.positions, 0)
    assert judges.features is not None and shown.fake.pixels is not None
    with torch.no_grad():
        wanted = judges.features(judges.vae.decode(target / 0.8).sample)
        distance = losses.perceptual(judges.features(shown.fake.pixels), wanted)
    assert expected == pytest.approx(2 * float((c * distance).mean()), rel=1e-3)


def test_the_perceptual_distance_alone_reaches_the_student() -> None:
    method = add(replace(CONFIG, adversarial_weight=0.0, perceptual_weight=1.0))
    shown = method._show(BATCH, 0)
    assert shown.fake.pixels is not None
    method._unlike(shown.fake.pixels, torch.zeros_like(shown.fake.pixels)).sum().backward()
    assert norm_of(method.student.module) > 0


def test_the_teacher_may_take_several_steps() -> None:
    method = add(replace(CONFIG, teacher_steps=3))
    asked = Recorder(method.judges.teacher)
    method.step(BATCH, STATE)
    assert [len(x) for x in asked.inputs] == [8, 8, 8]


def test_the_target_may_be_the_end_of_the_teachers_own_way_from_the_students_input() -> None:
    config = replace(CONFIG, target="trajectory", teacher_steps=2)
    method = add(config)
    x_s, s, _ = method.student_input(BATCH, 0)
    shown, _, terms = method._student_turn(BATCH, STATE)
    judges = method.judges
    end = solve(judges.teacher, judges.schedule, x_s, s, BATCH.text, judges.uncond_text, config.teacher_guidance, 2)
    with torch.no_grad():
        pixels = judges.vae.decode(end / 0.8).sample
    assert shown.fake.pixels is not None
    expected = (shown.fake.pixels - pixels).square().mean()  # every image weighs 1
    assert terms["distillation"] == pytest.approx(float(expected), rel=1e-3)


# Eyes


def test_every_scale_has_heads_of_its_own() -> None:
    method = add(replace(CONFIG, scales=(1, 2), augment=False))
    (eye,) = method.eyes
    assert isinstance(eye, PixelEye) and eye.channels == [8, 16, 8, 16]
    seen = Recorder(method.judges.features)
    _, (sight,), _ = method._student_turn(BATCH, STATE)
    torch.testing.assert_close(seen.inputs[1], F.interpolate(BATCH.pixels, scale_factor=0.5, mode="area"))
    assert [level.shape[-1] for level in sight.fake] == [16, 8, 8, 4]
    assert sight.condition is not None and sight.condition.shape[1] == 32 + 24  # the whole image's features
    assert "logit_gap_3" in method.step(BATCH, STATE)


def test_two_spaces_are_judged_at_once() -> None:
    method = add(replace(CONFIG, two_spaces=True, distill_weight=0.0))
    assert [type(eye) for eye in method.eyes] == [PixelEye, LatentEye]
    log = method.step(BATCH, STATE)
    assert "logit_gap_5" in log and "logit_gap_6" not in log  # two levels of pixels, four of latents
    assert log["logit_gap"] == pytest.approx(sum(log[f"logit_gap_{k}"] for k in range(6)) / 6, abs=1e-5)


def test_both_spaces_teach_the_student() -> None:
    norms = []
    for space in (0, 1):
        method = add(replace(CONFIG, two_spaces=True, distill_weight=0.0))
        sights = [eye.look(method._show(BATCH, 0), 0, 0) for eye in method.eyes]
        heads = method.heads.module.eyes[space]
        losses.hinge_g(heads(sights[space].fake, sights[space].condition)).backward()
        norms.append(norm_of(method.student.module))
    assert min(norms) > 0


# Mismatched captions


@pytest.mark.parametrize("method_name", ["add", "ladd"])
def test_heads_learn_to_refuse_other_captions(method_name: str) -> None:
    config = replace(CONFIG, method=method_name, mismatch_weight=1.0, heads_learning_rate=2e-3)
    method = add(config)
    logs = [method.step(BATCH, STATE) for _ in range(8)]
    assert logs[-1]["mismatch"] < logs[0]["mismatch"] - 0.1
    assert all(log["heads_loss"] == pytest.approx(log["hinge"] + log["r1_weighted"] + log["mismatch"]) for log in logs)


def test_the_wrong_caption_is_a_function_of_the_position() -> None:
    method = add(replace(CONFIG, mismatch_weight=1.0))
    together, alone = method._wrong(BATCH, 0), method._wrong(batch_of([2]), 0)
    assert together is not None and alone is not None and method.captions is not None
    assert len(method.captions.pooled) == len(CAPTIONS)
    assert torch.equal(together.text[2:3], alone.text) and torch.equal(together.pooled[2:3], alone.pooled)
    assert not torch.allclose(together.pooled, BATCH.pooled)


def test_only_the_caption_is_wrong() -> None:
    _, (sight,), _ = add(replace(CONFIG, mismatch_weight=1.0))._student_turn(BATCH, STATE)
    assert sight.condition is not None and sight.wrong_condition is not None
    assert torch.equal(sight.condition[:, 32:], sight.wrong_condition[:, 32:])
    assert not torch.equal(sight.condition[:, :32], sight.wrong_condition[:, :32])


def test_the_teachers_maps_do_not_betray_the_right_caption() -> None:
    method = add(replace(CONFIG, method="ladd", mismatch_weight=1.0))
    _, (sight,), _ = method._student_turn(BATCH, STATE)
    assert sight.wrong is not None and not torch.equal(sight.wrong[-1], sight.real[-1])


# Renewal of the heads, and calm after a collapse


def test_a_share_of_the_heads_is_drawn_anew_and_forgets_its_moments() -> None:
    method = add(replace(CONFIG, two_spaces=True, heads_renewal=0.5, heads_learning_rate=1e-12))
    changes = []
    for step in range(4):
        before = everything(method)
        method.step(BATCH, replace(STATE, images=4 * step))
        after = everything(method)
        names = method.heads.module.names()
        bias = "heads/weights/{}.score.bias".format
        moved = [n for n in names if not torch.allclose(after[bias(n)], before[bias(n)], atol=1e-6)]
        ages = {n: float(after[f"heads/optimizer/{n}.score.bias/step"]) for n in names}
        assert all(ages[n] == 1 for n in moved)
        changes.append(len(moved))
    assert 0 < sum(changes) < 24 and len(set(changes)) > 1
    assert min(ages.values()) >= 1 and max(ages.values()) > 1


def test_the_heads_slow_down_with_every_rollback() -> None:
    start = everything(add())
    moves = []
    for rollbacks in (0, 1):
        method = add(replace(CONFIG, optim=replace(OPTIM, weight_decay=0.0)))
        method.step(BATCH, replace(STATE, rollbacks=rollbacks))
        name = "heads/weights/eyes.0.heads.0.score.bias"
        moves.append(float((everything(method)[name] - start[name]).abs().max()))
    assert moves[1] == pytest.approx(CALM * moves[0], rel=0.01)

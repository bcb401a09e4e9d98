"""One step of ADD, and each mistake of the founding report as a test (see its post-mortem in the documentation)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from naruto_add import rng
from naruto_add.config import DistillConfig
from naruto_add.distill import Add, Setup, build_add
from naruto_add.distill.add import ramp
from naruto_add.distill.judges import opinion
from naruto_add.distill.method import draw_timesteps
from naruto_add.errors import UserError
from naruto_add.models.features import state_sha256
from naruto_add.models.student import inherit, save_head_start
from naruto_add.training.engine import choose_engine
from naruto_add.training.player import frozen
from tests.tiny import EPSILON, V_ZERO_SNR, TinyFeatures, tiny_components
from tests.unit.distill.tools import BATCH, OPTIM, STATE, Recorder, batch_of, norm_of

CONFIG = DistillConfig(optim=OPTIM, size="base")


def make(config: DistillConfig = CONFIG, scheduler_config: dict[str, object] = V_ZERO_SNR) -> Add:
    return build_add(Setup(config, tiny_components(scheduler_config=scheduler_config), TinyFeatures()))


# The founding report's mistakes


def test_the_student_is_not_the_teacher() -> None:
    add = make()
    student, teacher = add.student.module, add.judges.teacher
    assert student is not teacher
    assert sum(p.numel() for p in student.parameters()) < 0.7 * sum(p.numel() for p in teacher.parameters())


def test_the_adversarial_gradient_reaches_the_student() -> None:
    add = make(replace(CONFIG, distill_weight=0.0))
    add._student_turn(BATCH, STATE)
    missing = [name for name, p in add.student.module.named_parameters() if p.grad is None]
    assert norm_of(add.student.module) > 0 and not missing


def test_the_distillation_gradient_reaches_the_student() -> None:
    add = make(replace(CONFIG, adversarial_weight=0.0))
    add._student_turn(BATCH, STATE)
    assert norm_of(add.student.module) > 0


@pytest.mark.parametrize("weighting", ["exponential", "sds", "nfsd"])
def test_the_teacher_is_asked_and_never_changes(weighting: str) -> None:
    add = make(replace(CONFIG, weighting=weighting))
    judges = (add.judges.teacher, add.judges.vae, add.judges.features, add.base.text_encoder)
    before, asked = [state_sha256(judge) for judge in judges], Recorder(add.judges.teacher)
    add.step(BATCH, STATE)
    assert [len(x) for x in asked.inputs] == [8]  # with and without caption, in one batch
    assert [state_sha256(judge) for judge in judges] == before
    assert all(p.grad is None for judge in judges for p in judge.parameters())


def test_latents_are_diffused_not_pixels() -> None:
    add = make()
    seen = Recorder(add.student.module)
    add.step(BATCH, STATE)
    (x_s,) = seen.inputs
    assert x_s.shape == BATCH.latents.shape


def test_the_heads_see_pixels_in_their_range() -> None:
    add = make(replace(CONFIG, augment=False))
    seen = Recorder(add.judges.features)
    add.step(BATCH, STATE)
    real, fake = seen.inputs
    assert torch.equal(real, BATCH.pixels) and real.min() < -0.5 and real.max() <= 1
    assert fake.shape == real.shape


def test_two_steps_with_equal_seeds_are_equal() -> None:
    first, second = make(), make()
    assert first.step(BATCH, STATE) == second.step(BATCH, STATE)
    assert state_sha256(first.student.module) == state_sha256(second.student.module)
    assert state_sha256(first.heads.module) == state_sha256(second.heads.module)
    other = replace(STATE, seed=1)
    assert make().step(BATCH, other) != make().step(BATCH, STATE)


# Whose turn it is


def test_in_the_students_turn_the_heads_get_no_gradient() -> None:
    add = make()
    add._student_turn(BATCH, STATE)
    assert all(p.grad is None for p in add.heads.module.parameters())
    assert all(p.requires_grad for p in add.heads.module.parameters())


def test_in_the_heads_turn_the_student_gets_no_gradient() -> None:
    add = make()
    _, sights, _ = add._student_turn(BATCH, STATE)
    add.student.step(1e-3)
    add._judge(sights)
    assert all(p.grad is None for p in add.student.module.parameters())
    assert norm_of(add.heads.module) > 0


def test_freezing_weights_does_not_stop_gradients() -> None:
    """A published log claims that requires_grad_(False) on the discriminator starves the generator. It does not."""
    add = make()
    maps = [torch.randn(1, c, 4, 4, requires_grad=True) for c in add.judges.features.channels]
    with frozen(add.heads):
        torch.stack([x.mean() for x in add.heads.module([maps], [torch.randn(1, 32 + 24)])]).sum().backward()
    assert all(level.grad is not None and level.grad.abs().max() > 0 for level in maps)


def test_one_student_pass_serves_both_turns() -> None:
    add = make(replace(CONFIG, heads_steps=3))
    seen = Recorder(add.student.module)
    before = state_sha256(add.heads.module)
    add.step(BATCH, STATE)
    assert len(seen.inputs) == 1 and state_sha256(add.heads.module) != before


# What a step is


def test_a_step_reports_all_terms() -> None:
    log = make().step(BATCH, STATE)
    for name in ("adversarial", "distillation", "r1"):
        assert f"{name}_weighted" in log and name in log
    assert {"d_real", "d_fake", "logit_gap", "logit_gap_0", "logit_gap_1", "heads_loss", "student_loss"} <= log.keys()
    assert log["student_grad_norm"] > 0 and log["heads_grad_norm"] > 0
    assert log["student_loss"] == pytest.approx(log["adversarial_weighted"] + 2.5 * log["distillation"], abs=1e-5)
    assert log["heads_loss"] == pytest.approx(log["hinge"] + 1e-5 * log["r1"], abs=1e-5)
    assert log["logit_gap"] == pytest.approx(log["d_real"] - log["d_fake"], abs=1e-5)


@pytest.mark.parametrize("config", [V_ZERO_SNR, EPSILON])
def test_the_student_denoises_real_latents_at_its_timesteps(config: dict[str, object]) -> None:
    """Section 3.1: x_s = alpha_s x0 + sigma_s eps, pure noise at the last timestep, and x_hat is its guess of x0."""
    add = make(scheduler_config=config)
    schedule, seen, positions = add.judges.schedule, Recorder(add.student.module), list(range(8))
    batch = batch_of(positions)
    shown = add._show(batch, seed=3)
    t = draw_timesteps(rng.uniform(3, "student-timestep", positions), (249, 499, 749, 999), 0.25)
    eps = rng.normal((4, 8, 8), 3, "student-noise", positions)
    x_s = torch.where((t == 999).view(-1, 1, 1, 1), eps, schedule.add_noise(batch.latents, eps, t))
    assert torch.equal(seen.inputs[0], x_s) and len(t.unique()) > 2
    output = add.student.module(x_s, t, encoder_hidden_states=batch.text).sample
    torch.testing.assert_close(shown.fake.latents, schedule.to_x0(output, x_s, t))
    assert torch.equal(shown.knows_x0, t != 999)
    assert torch.equal(shown.real.latents, batch.latents)


def test_accumulation_changes_nothing() -> None:
    whole, parts = make(), make(replace(CONFIG, optim=replace(OPTIM, accumulation=2)))
    first, second = whole.step(BATCH, STATE), parts.step(BATCH, STATE)
    assert first["student_grad_norm"] == pytest.approx(second["student_grad_norm"], rel=1e-3)
    assert first["distillation"] == pytest.approx(second["distillation"], rel=1e-4)


def test_the_teacher_agrees_with_the_pieces() -> None:
    """Equation 4 written out: re-noise the student's guess, guide the teacher, weight by alpha."""
    add = make(replace(CONFIG, teacher_guidance=2.0))
    judges, schedule = add.judges, add.judges.schedule
    x_hat = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    target, c = opinion(add.config, judges, BATCH.text, x_hat, BATCH.positions, seed=0)
    t = rng.integers(1000, 0, "teacher-timestep", BATCH.positions)
    eps = rng.normal((4, 8, 8), 0, "teacher-noise", BATCH.positions)
    x_t = schedule.add_noise(x_hat, eps, t)
    with torch.no_grad():
        cond = judges.teacher(x_t, t, encoder_hidden_states=BATCH.text).sample
        uncond = judges.teacher(x_t, t, encoder_hidden_states=judges.uncond_text.expand_as(BATCH.text)).sample
        x0 = schedule.to_x0(uncond + 2 * (cond - uncond), x_t, t)
    torch.testing.assert_close(target, x0, rtol=1e-4, atol=1e-4)
    assert torch.equal(c, schedule.alphas[t])


@pytest.mark.parametrize("config", [V_ZERO_SNR, EPSILON])
def test_the_student_learns_to_please_the_teacher(config: dict[str, object]) -> None:
    add = make(replace(CONFIG, adversarial_weight=0.0, student_timesteps=(999,)), config)
    distances = [add.step(BATCH, STATE)["distillation"] for _ in range(12)]
    assert distances[-1] < 0.7 * distances[0]


def test_the_student_learns_to_please_the_heads() -> None:
    optim = replace(OPTIM, learning_rate=1e-2)
    config = replace(CONFIG, optim=optim, distill_weight=0.0, heads_learning_rate=1e-9, student_timesteps=(999,))
    add = make(config)
    verdicts = [add.step(BATCH, STATE)["d_fake"] for _ in range(8)]
    assert verdicts == sorted(verdicts) and verdicts[-1] > verdicts[0] + 0.002


def test_the_heads_learn_to_tell_real_from_generated() -> None:
    add = make(replace(CONFIG, heads_learning_rate=3e-3, heads_steps=2))
    gaps = [add.step(BATCH, STATE)["logit_gap"] for _ in range(8)]
    assert gaps[-1] > gaps[0] + 0.3


@pytest.mark.parametrize("stage", [0, 2])
def test_a_zero_engine_changes_nothing(stage: int) -> None:
    config = replace(CONFIG, optim=replace(OPTIM, accumulation=2))
    plain, zero = (
        build_add(Setup(config, tiny_components(), TinyFeatures(), engine=choose_engine(choice)))
        for choice in (None, stage)
    )
    for _ in range(2):
        assert plain.step(BATCH, STATE) == pytest.approx(zero.step(BATCH, STATE), rel=1e-4, abs=1e-5)


def test_in_bfloat16_the_losses_are_about_the_same() -> None:
    half = build_add(Setup(CONFIG, tiny_components(), TinyFeatures(), precision="bf16")).step(BATCH, STATE)
    full = make().step(BATCH, STATE)
    for name in ("adversarial", "distillation", "hinge", "student_grad_norm"):
        assert half[name] == pytest.approx(full[name], rel=0.1, abs=0.02), name


def test_the_terminal_student_sees_pure_noise_and_is_told_no_image() -> None:
    add = make(replace(CONFIG, terminal_share=1.0))
    seen = Recorder(add.student.module)
    _, (sight,), _ = add._student_turn(BATCH, STATE)
    other = replace(BATCH, latents=BATCH.latents + 1)
    add._student_turn(other, STATE)
    assert torch.equal(seen.inputs[0], seen.inputs[1])
    text_size = BATCH.pooled.shape[1]
    assert sight.condition is not None
    assert sight.condition[:, text_size:].abs().max() == 0 and sight.condition[:, :text_size].abs().max() > 0


@pytest.mark.parametrize(("conditioning", "size"), [("none", None), ("text", 32), ("image", 24), ("both", 56)])
def test_conditioning(conditioning: str, size: int | None) -> None:
    add = make(replace(CONFIG, conditioning=conditioning))
    _, (sight,), _ = add._student_turn(BATCH, STATE)
    assert (None if sight.condition is None else sight.condition.shape[1]) == size
    assert add.step(BATCH, STATE)["heads_grad_norm"] > 0


def test_without_r1_the_heads_learn_the_hinge_alone() -> None:
    log = make(replace(CONFIG, r1_gamma=0.0)).step(BATCH, STATE)
    assert log["r1"] == 0 and log["heads_loss"] == log["hinge"] and log["heads_grad_norm"] > 0


def test_real_images_may_be_decoded_latents() -> None:
    add = make(replace(CONFIG, real_images="decoded"))
    assert not add.needs_pixels
    shown, _, _ = add._student_turn(replace(BATCH, pixels=None), STATE)
    torch.testing.assert_close(shown.real.pixels, add.judges.vae.decode(BATCH.latents / 0.8).sample)


def test_a_negative_prompt_joins_the_teachers_batch() -> None:
    add = make(replace(CONFIG, weighting="nfsd", negative_prompt="blurry"))
    asked = Recorder(add.judges.teacher)
    add.step(BATCH, STATE)
    assert [len(x) for x in asked.inputs] == [12]


def test_the_head_start_is_added(tmp_path: Path) -> None:
    base = tiny_components().unet
    before, _ = inherit(base, "base")
    after, _ = inherit(base, "base")
    with torch.no_grad():
        after.conv_out.bias += 1
    save_head_start(after, before, tmp_path)
    add = make(replace(CONFIG, head_start=str(tmp_path)))
    torch.testing.assert_close(add.student.module.conv_out.bias, base.conv_out.bias + 1)


def test_previews_are_fixed_and_drawn_by_the_average() -> None:
    add = make()
    first = add.preview(["a", "b"])
    assert first.shape == (4, 3, 32, 32)
    assert torch.equal(first, add.preview(["a", "b"]))
    with torch.no_grad():
        add.student.module.conv_out.bias += 1
    assert torch.equal(first, add.preview(["a", "b"]))
    assert add.components().unet is add.student.ema


def test_a_student_that_cannot_start_from_noise_is_refused() -> None:
    with pytest.raises(UserError, match="must hold 999"):
        make(replace(CONFIG, student_timesteps=(249, 499)))


# Small parts


def test_timesteps_are_drawn_with_their_shares() -> None:
    draws = (torch.arange(1000) + 0.5) / 1000
    t = draw_timesteps(draws, (249, 499, 749, 999), 0.4)
    shares = {int(value): int((t == value).sum()) for value in t.unique()}
    assert shares == {249: 200, 499: 200, 749: 200, 999: 400}
    assert (draw_timesteps(draws, (999,), 0.0) == 999).all()
    assert (draw_timesteps(draws, (249, 999), 1.0) == 999).all()
    uniform = draw_timesteps(draws, (249, 499, 749, 999), 0.25)
    assert (uniform == 999).sum() == 250


def test_ramp() -> None:
    assert [ramp(images, 100) for images in (0, 50, 100, 200)] == [0.0, 0.5, 1.0, 1.0]
    assert ramp(0, 0) == 1.0

"""What holds for every distillation: who learns, what a step is, resuming, ZeRO, pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from naruto_add.config import DistillConfig
from naruto_add.distill import Add, ConsistencyDistillation, OutputDistillation
from naruto_add.errors import UserError
from naruto_add.models.features import state_sha256
from naruto_add.training.engine import choose_engine
from naruto_add.training.loop import train
from naruto_add.training.telemetry import Reporter
from naruto_add.training.world import World
from tests.unit.distill.tools import BATCH, OPTIM, STATE, Feed, everything, make

pytestmark = pytest.mark.slow

ADD = DistillConfig(optim=OPTIM)
CONFIGS = {
    "ladd": replace(ADD, method="ladd", mismatch_weight=1.0, heads_renewal=0.3),
    "lcm": replace(ADD, method="lcm"),
    "output": replace(ADD, method="output", teacher_steps=2),
    "add_with_every_option": replace(
        ADD, two_spaces=True, scales=(1, 2), mismatch_weight=0.5, heads_renewal=0.3, simulated_share=0.5,
        perceptual_weight=1.0, teacher_steps=2, heads_steps=2,
    ),
}  # fmt: skip
every = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def test_the_recipe_names_the_method() -> None:
    kinds = {"add": Add, "ladd": Add, "lcm": ConsistencyDistillation, "output": OutputDistillation}
    for name, kind in kinds.items():
        method = make(replace(ADD, method=name))
        assert isinstance(method, kind) and method.needs_pixels == (name == "add")


@every
def test_the_players_learn_and_nobody_else(config: DistillConfig) -> None:
    method = make(config)
    judges = [m for m in (method.judges.teacher, method.judges.vae, method.judges.features) if m is not None]
    frozen = [*judges, method.base.text_encoder]
    before = [state_sha256(module) for module in frozen]
    weights = {name: p.detach().clone() for name, p in method.student.parameters.items()}
    heads = state_sha256(method.players["heads"].module) if "heads" in method.players else None
    log = method.step(BATCH, STATE)
    assert [state_sha256(module) for module in frozen] == before
    assert all(p.grad is None for module in frozen for p in module.parameters())
    still = [n for n, p in method.student.parameters.items() if torch.equal(p, weights[n])]
    assert not still and log["student_grad_norm"] > 0
    assert heads is None or (state_sha256(method.players["heads"].module) != heads and log["heads_grad_norm"] > 0)


@every
def test_latents_suffice_unless_real_pixels_are_judged(config: DistillConfig) -> None:
    method = make(config)
    if method.needs_pixels:
        with pytest.raises(AssertionError, match="batches with pixels"):
            method.step(replace(BATCH, pixels=None), STATE)
    else:
        assert method.step(replace(BATCH, pixels=None), STATE)["student_grad_norm"] > 0


@every
def test_accumulation_changes_nothing(config: DistillConfig) -> None:
    first = make(config).step(BATCH, STATE)
    second = make(replace(config, optim=replace(OPTIM, accumulation=2))).step(BATCH, STATE)
    assert first.keys() == second.keys()
    for name in ("student_loss", "student_grad_norm"):
        assert first[name] == pytest.approx(second[name], rel=1e-3)


@every
def test_killed_and_resumed_it_ends_with_the_same_bits(config: DistillConfig, tmp_path: Path) -> None:
    optim = replace(OPTIM, images=12, checkpoint_images=4, preview_images=100)
    config = replace(config, optim=optim)

    def run(feed: Feed, folder: Path) -> dict[str, torch.Tensor]:
        method = make(config)
        train(method, feed, optim, folder, Reporter(), 0, World())
        return everything(method)

    wanted = run(Feed(), tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        run(Feed(death=8), tmp_path / "killed")
    found = run(Feed(), tmp_path / "killed")
    assert found.keys() == wanted.keys()
    assert not [name for name in wanted if not torch.equal(found[name], wanted[name])]


@every
def test_a_zero_engine_changes_nothing(config: DistillConfig) -> None:
    """Stage 3, which alone cuts the weights too; the other stages are test_add.py's and test_zero.py's."""
    plain, zero = make(config), make(config, engine=choose_engine(3))
    for _ in range(2):
        assert plain.step(BATCH, STATE) == pytest.approx(zero.step(BATCH, STATE), rel=1e-3, abs=1e-4)


@every
def test_in_bfloat16_the_loss_is_about_the_same(config: DistillConfig) -> None:
    half, full = make(config, precision="bf16").step(BATCH, STATE), make(config).step(BATCH, STATE)
    assert half["student_loss"] == pytest.approx(full["student_loss"], rel=0.1, abs=0.02)


@every
def test_previews_are_those_of_a_few_step_student(config: DistillConfig) -> None:
    method = make(config)
    pictures = method.preview(["a", "b"])
    assert pictures.shape == (4, 3, 32, 32) and torch.equal(pictures, method.preview(["a", "b"]))
    assert method.components().unet is method.student.ema


@every
def test_a_student_that_cannot_start_from_noise_is_refused(config: DistillConfig) -> None:
    with pytest.raises(UserError, match="must hold 999"):
        make(replace(config, student_timesteps=(249, 499)))

"""The arithmetic of weights, gradients, moments and averages against real players."""

from pathlib import Path

import pytest
import torch
from torch import nn

from naruto_add import recipe as recipes
from naruto_add.config import Recipe
from naruto_add.diffusion.guidance import predict
from naruto_add.distill import Setup, build_add
from naruto_add.finetune import build_finetune
from naruto_add.models.features import load_features
from naruto_add.models.load import load_components
from naruto_add.models.student import inherit
from naruto_add.plan.images import finetune_cost
from naruto_add.plan.memory import Learner, Parts, largest_micro_batch, learner_parts, training_parts
from naruto_add.plan.networks import Networks, architecture, build
from naruto_add.training.engine import MOMENTS, choose_engine
from naruto_add.training.player import Player
from naruto_add.training.zero import DeepSpeedEngine
from tests.tiny import tiny_unet


def recipe_on(base: Path, **flags: object) -> Recipe:
    return recipes.load("smoke", {"teacher.base": str(base), "data.size_px": 32, "distill.head_start": None, **flags})


def planned(recipe: Recipe) -> Networks:
    return build(recipe, architecture(recipe.teacher))


def bytes_of(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def measured(player: Player) -> Parts:
    """One step of a player, its tensors counted; frozen weights shared with the average count once, as weights."""
    player.backward(torch.stack([p.square().sum() for p in player.parameters.values()]).sum())
    gradients = sum(p.grad.nbytes for p in player.parameters.values() if p.grad is not None)
    player.step(1e-4)
    moments = [player.engine.moments(p) for p in player.parameters.values()]
    optimizer = sum(m["exp_avg"].nbytes + m["exp_avg_sq"].nbytes for m in moments)
    weights = bytes_of(player.module)
    shared = sum(p.nbytes for p in player.module.parameters() if not p.requires_grad)
    return Parts(weights, gradients, optimizer, bytes_of(player.ema) - shared)


@pytest.mark.parametrize("rank", [None, 4])
def test_fine_tuning_holds_what_is_planned(tiny_base: Path, rank: int | None) -> None:
    recipe = recipe_on(tiny_base, **{"teacher.lora_rank": rank, "teacher.optim.accumulation": 1})
    method = build_finetune(recipe.teacher, load_components(tiny_base), "base", 0)
    assert learner_parts(Learner.of(planned(recipe).teacher), 0, workers=1) == measured(method.player)


def test_a_decoder_that_learns_is_planned(tiny_base: Path) -> None:
    recipe = recipe_on(tiny_base, **{"teacher.decoder_share": 0.5, "teacher.optim.accumulation": 1})
    method, networks = build_finetune(recipe.teacher, load_components(tiny_base), "base", 0), planned(recipe)
    assert method.decoder is not None and networks.tuned is not None
    assert learner_parts(Learner.of(networks.tuned.decoder), 0, workers=1) == measured(method.decoder.player)
    with_it, without = (
        finetune_cost(some, planned(some), False)
        for some in (recipe, recipe_on(tiny_base, **{"teacher.decoder_share": 0.0}))
    )
    assert with_it.flops > without.flops and with_it.activation_bytes >= without.activation_bytes


def test_adversarial_distillation_holds_what_is_planned(tiny_base: Path) -> None:
    recipe = recipe_on(tiny_base)
    networks, features = planned(recipe), load_features(recipe.distill.features)
    method = build_add(Setup(recipe.distill, load_components(tiny_base), features))
    assert networks.heads is not None and networks.features is not None
    assert learner_parts(Learner.of(networks.student), 0, workers=1) == measured(method.student)
    assert learner_parts(Learner.of(networks.heads, shards=False), 3, workers=1) == measured(method.heads)
    assert [p.shape for p in networks.features.parameters()] == [p.shape for p in features.parameters()]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_keeps_a_float32_master_beside_the_moments(stage: int) -> None:
    student, _ = inherit(tiny_unet().requires_grad_(True), "base")
    learner = Learner.of(student)
    optim = recipes.load("smoke", {"distill.optim.accumulation": 1}).distill.optim
    player = Player("student", student, optim, choose_engine(stage))
    inputs = torch.ones(2, 4, 8, 8), torch.zeros(2), torch.ones(2, 48, 32)
    player.backward(predict(player.module, *inputs).square().mean())
    player.step(1e-4)
    assert isinstance(player.engine, DeepSpeedEngine)
    zero = player.engine.zero
    masters = zero.fp32_partitioned_groups_flat if stage == 3 else zero.single_partition_of_fp32_groups
    found = sum(p.nbytes for p in masters)
    found += sum(state[name].nbytes for state in player.engine.adamw.state.values() for name in MOMENTS)
    wanted = learner_parts(learner, stage, workers=1).optimizer
    assert wanted <= found <= wanted * 1.01, "but for the padding of pieces"


def test_each_stage_divides_what_it_should() -> None:
    learner = Learner(trained=1000, frozen=10, buffers=1, shards=True)
    weights, ema = 4044, 4004
    assert learner_parts(learner, 0, 4) == Parts(weights, 4000, 8000, ema, exchange=4000)
    assert learner_parts(learner, 1, 4) == Parts(weights, 4000, 3000, ema, exchange=4000)
    assert learner_parts(learner, 2, 4) == Parts(weights, 1000, 3000, ema, exchange=4000)
    assert learner_parts(learner, 3, 4) == Parts(1044, 1000, 3000, ema, exchange=4000)
    whole = Learner(trained=1000, frozen=0, buffers=0, shards=False)
    assert learner_parts(whole, 3, 4) == learner_parts(whole, 0, 4)
    both = training_parts([learner, whole], 7, 2, 4)
    assert (both.weights, both.frozen, both.total) == (weights + 4000, 28, 16048 + 24000 + 28)


def test_the_largest_micro_batch_is_the_last_that_fits() -> None:
    fixed, memory = Parts(weights=10**9), 4 * 2**30
    most = largest_micro_batch(fixed, 10**8, memory)
    assert fixed.total + most * 10**8 <= 0.95 * (memory - 2**30) < fixed.total + (most + 1) * 10**8
    assert largest_micro_batch(Parts(weights=memory), 1, memory) == 0

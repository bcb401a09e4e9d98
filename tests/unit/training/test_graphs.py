"""Replayed passes: on a GPU they give what plain ones give, with gradients and as weights change."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from naruto_add import recipe as recipes
from naruto_add.config import DistillConfig
from naruto_add.diffusion.guidance import predict
from naruto_add.distill import Add, Setup, build_distillation
from naruto_add.on_ray.workers import replay_unets
from naruto_add.training.graphs import Replay, replay
from naruto_add.training.state import TrainState
from tests.tiny import TinyFeatures, tiny_components, tiny_unet
from tests.unit.distill.tools import OPTIM, batch_of

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")


def inputs(seed: int, batch: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, t and text on the GPU."""
    generator = torch.Generator().manual_seed(seed)
    x_t, text = torch.randn(batch, 4, 8, 8, generator=generator), torch.randn(batch, 48, 32, generator=generator)
    return x_t.cuda(), torch.randint(1000, (batch,), generator=generator), text.cuda()


def pair(learns: bool = True) -> tuple[UNet2DConditionModel, UNet2DConditionModel]:
    """A UNet that replays, and its twin that does not."""
    replaying, plain = tiny_unet().cuda().train(), tiny_unet().cuda().train()
    replay(replaying, learns)
    return replaying, plain


def gradients(unet: UNet2DConditionModel, seed: int) -> list[Tensor]:
    """Of the mean square of what it makes of inputs; none are left."""
    predict(unet, *inputs(seed)).square().mean().backward()
    found = [p.grad.clone() for p in unet.parameters() if p.grad is not None]
    unet.zero_grad(set_to_none=True)
    return found


def near(one: list[Tensor], other: list[Tensor]) -> bool:
    """Equal but for the order of sums."""
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(one, other, strict=True))


@needs_gpu
@torch.no_grad()
def test_passes_without_gradient_follow_inputs_shapes_and_weights() -> None:
    replaying, plain = pair()
    for seed, batch in ((0, 4), (1, 4), (2, 2), (3, 4)):
        given = inputs(seed, batch)
        assert near([predict(replaying, *given)], [predict(plain, *given)])
        for unet in (replaying, plain):
            unet.conv_out.weight.mul_(1.5)  # in place, as optimizers do


@needs_gpu
def test_gradients_are_those_of_a_plain_pass() -> None:
    replaying, plain = pair()
    for seed in range(3):
        assert near(gradients(replaying, seed), gradients(plain, seed))


@needs_gpu
def test_a_pass_before_the_backward_of_the_last_one_harms_neither() -> None:
    replaying, plain = pair()

    def both(unet: UNet2DConditionModel) -> list[Tensor]:
        first, second = (predict(unet, *inputs(seed)) for seed in (0, 1))
        (first.square().mean() + second.square().mean()).backward()
        return [p.grad.clone() for p in unet.parameters() if p.grad is not None]

    gradients(replaying, 2)
    assert near(both(replaying), both(plain))


@needs_gpu
def test_a_network_that_must_not_learn_in_graphs_computes_plainly() -> None:
    replaying, plain = pair(learns=False)
    assert near(gradients(replaying, 0), gradients(plain, 0))
    assert isinstance(replaying.forward, Replay) and not replaying.forward.passes


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replayed_adversarial_training_goes_where_plain_training_goes(precision: str) -> None:
    def trained(replayed: bool) -> tuple[dict[str, float], list[Tensor]]:
        config = DistillConfig(optim=OPTIM, target="trajectory", teacher_steps=2, simulated_share=0.5)
        setup = Setup(config, tiny_components(), TinyFeatures(), device="cuda", precision=precision)
        method = build_distillation(setup)
        assert isinstance(method, Add)
        if replayed:
            replay_unets(method, OPTIM)
        for step in range(4):
            log = method.step(batch_of([4 * step + k for k in range(4)]), TrainState(0, 4, 4 * step))
        return log, [p.detach().cpu() for p in method.student.ema.parameters()]

    (one, weights), (other, same) = trained(True), trained(False)
    assert one == pytest.approx(other, rel=0.02, abs=2e-3)
    assert max(float((a - b).abs().max()) for a, b in zip(weights, same, strict=True)) < 5e-3


def complaint(flags: dict[str, object]) -> str:
    """About recipe `mini` with these settings."""
    return "\n".join(recipes.check(recipes.load("mini", flags)))


def test_graphs_are_refused_where_there_is_no_gpu_or_something_looks_inside() -> None:
    assert "cuda_graphs needs a GPU" in complaint({"compute.cuda_graphs": True})
    inside = {"compute.cuda_graphs": True, "compute.gpus_per_worker": 1, "distill.method": "output"}
    assert "looks inside" in complaint(inside)
    assert "cuda_graphs" not in complaint({**inside, "distill.feature_weight": 0})

"""The plan of memory beside what a step really takes, to 15 %: all tensors, at several sizes and micro-batches."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from jobs.measuring.gpu import alone, distilling, finetuning
from jobs.measuring.setting import captions, random_batch
from naruto_add.config import Recipe
from naruto_add.models.student import Size
from naruto_add.plan.estimate import Means, estimate
from naruto_add.training.state import TrainState

CPU = torch.device("cpu")


def one_worker(micro: int, size: Size) -> Recipe:
    """Recipe `mini` with one micro-batch a step, in float32 and plain torch."""
    recipe = alone("mini", micro, False, CPU)
    return replace(
        recipe,
        teacher=replace(recipe.teacher, compact_share=0.0),
        distill=replace(recipe.distill, size=size),
        compute=replace(recipe.compute, precision="fp32"),
    )


def held_before() -> int:
    """Bytes of all tensors that are there."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.device == CPU]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def most_beside(call: Callable[[], object]) -> int:
    """The most bytes that torch takes beside those while it runs."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        call()
    kineto = found.profiler.kineto_results
    changes = sorted((e.start_ns(), e.nbytes()) for e in kineto.events() if e.name() == "[memory]")
    now = most = 0
    for _, size in changes:
        now += size
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    ("stage", "micro", "size"), [("finetune", 4, "base"), ("distill", 2, "base"), ("distill", 4, "tiny")]
)
def test_a_step_takes_what_is_planned(stage: str, micro: int, size: Size) -> None:
    others = held_before()
    recipe, state = one_worker(micro, size), TrainState(0, micro)
    method, base = (finetuning if stage == "finetune" else distilling)(recipe, CPU)
    batch = random_batch(base, captions(recipe, micro), recipe.data.size_px)
    method.step(batch, state)  # makes the optimizer's state
    measured = held_before() - others
    measured += most_beside(lambda: method.step(batch, state))
    planned = estimate(recipe, Means()).stages[stage].memory[0].total
    assert planned == pytest.approx(measured, rel=0.15)

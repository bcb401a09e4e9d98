"""The plan of memory beside what a step really takes, to 15 %: all tensors, at several sizes and micro-batches."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from jobs.measuring.gpu import distilling, finetuning, images
from naruto_add import recipe as recipes
from naruto_add.config import Recipe
from naruto_add.plan.estimate import Means, estimate
from naruto_add.training.state import TrainState

CPU = torch.device("cpu")


def one_worker(micro: int, size: str) -> Recipe:
    """Recipe `mini` with one micro-batch a step, in float32 and plain torch."""
    optim = {"batch_size": micro, "accumulation": 1, "images": 100 * micro, "warmup_images": 0}
    flags: dict[str, object] = {f"{part}.optim.{k}": v for part in ("teacher", "distill") for k, v in optim.items()}
    alone = {"workers": 1, "finetune_workers": None, "zero_stage": None, "precision": "fp32"}
    flags |= {f"compute.{name}": value for name, value in alone.items()}
    return recipes.load("mini", {**flags, "teacher.compact_share": 0.0, "distill.size": size})


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
def test_a_step_takes_what_is_planned(stage: str, micro: int, size: str) -> None:
    others = held_before()
    recipe, state = one_worker(micro, size), TrainState(0, micro)
    method, base = (finetuning if stage == "finetune" else distilling)(recipe, CPU)
    batch = images(base, recipe, micro)
    method.step(batch, state)  # makes the optimizer's state
    measured = held_before() - others
    measured += most_beside(lambda: method.step(batch, state))
    planned = estimate(recipe, Means()).stages[stage].memory[0].total
    assert planned == pytest.approx(measured, rel=0.15)

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from naruto_add import recipe as recipes
from naruto_add.config import Recipe
from naruto_add.data.latents import captions_of
from naruto_add.models.load import encode_images, load_components
from naruto_add.plan.estimate import Means, Plan, estimate
from naruto_add.plan.images import student_looks, teacher_passes
from naruto_add.plan.memory import sent_bytes
from naruto_add.plan.networks import architecture, build
from naruto_add.plan.storage import cached


@pytest.fixture(scope="module")
def recipe(tiny_base: Path) -> Recipe:
    return recipes.load("smoke", {"teacher.base": str(tiny_base), "data.size_px": 32})


@pytest.fixture(scope="module")
def measured(recipe: Recipe) -> Plan:
    return estimate(recipe, Means(images_per_s=16.0, price_per_gpu_hour=3.0, gpu_memory_gib=2.0))


def test_a_measured_throughput_gives_time_and_cost(measured: Plan) -> None:
    stage = measured.stages["finetune"]
    assert stage.pace is not None and stage.pace.cost is not None
    assert stage.pace.seconds_per_1000_images == 1000 / 16
    assert stage.pace.hours == pytest.approx(32 / 16 / 3600)
    assert stage.pace.cost == pytest.approx(stage.pace.hours * 3.0), "one worker fine-tunes"
    distill = measured.stages["distill"]
    assert distill.pace is not None
    assert distill.pace.images_per_s * distill.flops_per_image == pytest.approx(16 * stage.flops_per_image)


@pytest.fixture
def quick(recipe: Recipe) -> Recipe:
    """A method without feature network and discriminator."""
    return replace(recipe, distill=replace(recipe.distill, method="lcm"))


def test_without_gpu_or_throughput_no_time_is_made_up(quick: Recipe) -> None:
    plan = estimate(quick, Means())
    assert all(stage.pace is None and stage.largest_micro_batch is None for stage in plan.stages.values())
    assert any("--images-per-s" in line for line in plan.assumptions)


def test_gpus_are_guessed_from_operations(quick: Recipe) -> None:
    on_gpu = replace(quick, compute=replace(quick.compute, gpus_per_worker=1.0))
    pace = estimate(on_gpu, Means(gpu_tflops=10.0, utilisation=0.5)).stages["finetune"].pace
    slower = estimate(on_gpu, Means(gpu_tflops=10.0, utilisation=0.25)).stages["finetune"].pace
    assert pace is not None and slower is not None
    assert pace.images_per_s == pytest.approx(2 * slower.images_per_s)


def test_what_several_gpus_send_takes_its_time(quick: Recipe) -> None:
    def pace_of(workers: int, link: float) -> tuple[float, float]:
        compute = replace(quick.compute, gpus_per_worker=1.0, workers=workers, finetune_workers=None)
        plan = estimate(replace(quick, compute=compute), Means(gpu_tflops=1.0, link_gb_per_s=link))
        pace = plan.stages["finetune"].pace
        assert pace is not None and pace.exchange_share is not None
        return pace.images_per_s, pace.exchange_share

    alone, nothing = pace_of(1, 0.1)
    fast, little = pace_of(2, 1e6)
    slow, much = pace_of(2, 0.001)
    assert nothing == 0 and little < 0.001 < 0.5 < much
    assert fast == pytest.approx(2 * alone, rel=0.001)
    assert slow == pytest.approx(fast * (1 - much), rel=0.001)


def test_sending_follows_the_stage() -> None:
    sent = [sent_bytes(1000, stage, workers=4, accumulation=2) for stage in range(4)]
    assert sent == [6000, 6000, 9000, 18000]
    assert sent_bytes(1000, 3, workers=1, accumulation=2) == 0


def test_the_largest_micro_batch_divides_the_share_and_fits(measured: Plan) -> None:
    stage = measured.stages["distill"]
    assert stage.largest_micro_batch == dict.fromkeys(range(4), 2), "two workers share a batch of 4"
    assert stage.micro_batch == 2 and stage.zero_stage == 2
    assert stage.memory[3].total < stage.memory[0].total


def test_the_latent_cache_is_as_large_as_planned(recipe: Recipe, tiny_base: Path) -> None:
    base = load_components(tiny_base)
    row = {"latents": encode_images(base.vae, torch.zeros(1, 3, 32, 32)), **captions_of(base, ["a ninja"])}
    assert sum(tensor.nbytes for tensor in row.values()) == cached(build(recipe, architecture(recipe.teacher)))


@pytest.mark.parametrize(
    ("changes", "passes", "looks"),
    [
        ({}, 2, 0),
        ({"teacher_guidance": 1.0}, 1, 0),
        ({"weighting": "nfsd", "negative_prompt": "blurry"}, 3, 0),
        ({"target": "trajectory", "teacher_steps": 4, "simulated_share": 0.5}, 8, 3),
        ({"method": "output", "teacher_steps": 8}, 17, 0),
        ({"method": "lcm"}, 2, 1),
        ({"method": "ladd", "distill_weight": 0.0}, 0, 0),
    ],
)
def test_passes_of_teacher_and_student(recipe: Recipe, changes: dict[str, object], passes: int, looks: int) -> None:
    config = replace(recipe.distill, **changes)
    assert (teacher_passes(config), student_looks(config)) == (passes, looks)

"""The plan of a run: parameters, memory for every ZeRO stage, storage, time and cost, with all that is assumed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from naruto_add.config import OptimConfig, Recipe
from naruto_add.models.bfloat16 import choose
from naruto_add.plan.images import Cost, distill_cost, finetune_cost
from naruto_add.plan.memory import (
    CONTEXT_BYTES,
    USABLE,
    Learner,
    Parts,
    largest_micro_batch,
    sent_bytes,
    training_parts,
)
from naruto_add.plan.networks import Networks, architecture, build, count
from naruto_add.plan.storage import STORED_BYTES_PER_PIXEL, storage
from naruto_add.training.pace import total_images

ZERO_STAGES = (0, 1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Means:
    """What is to be had, and at which pace and price."""

    gpu_memory_gib: float | None = None
    """Memory of one GPU (or of one worker on a CPU), in GiB: finds the largest micro-batch."""
    images_per_s: float | None = None
    """Measured images per second of fine-tuning, over all GPUs; distillation is reckoned from it."""
    price_per_gpu_hour: float | None = None
    """In any currency."""
    gpu_tflops: float = 312.0
    """Peak of one GPU in 10^12 operations per second, for estimates without --images-per-s; 312: A100, bf16."""
    utilisation: float = 0.3
    """Share of the peak that training reaches, for the same estimates."""
    link_gb_per_s: float = 25.0
    """10^9 bytes per second that a GPU sends to others, for the same estimates; 25: 200 Gb/s of InfiniBand each."""


@dataclass(frozen=True)
class Pace:
    """Time and money of one training stage."""

    images_per_s: float
    """Over all GPUs."""
    seconds_per_1000_images: float
    hours: float
    cost: float | None
    """In the price's currency; None without a price."""
    exchange_share: float | None
    """Of the time, for sending gradients and weights; None where it is in a measured throughput."""


@dataclass(frozen=True)
class StagePlan:
    """One training stage."""

    images: int
    micro_batch: int
    zero_stage: int
    """The recipe's; 0 is also plain torch."""
    memory: dict[int, Parts]
    """Bytes a GPU for each ZeRO stage, at the recipe's micro-batch."""
    largest_micro_batch: dict[int, int] | None
    """Images that fit the given memory, for each ZeRO stage; None without one."""
    flops_per_image: float
    pace: Pace | None
    """None where neither a throughput nor a GPU is known."""


@dataclass(frozen=True)
class Plan:
    """Of a whole run."""

    recipe: str
    base: str
    gpus: int
    """0: workers on processors."""
    workers: int
    precision: str
    parameters: dict[str, int]
    stages: dict[str, StagePlan]
    storage: dict[str, int]
    assumptions: list[str]


@dataclass(frozen=True)
class Training:
    """What one training stage holds and does."""

    optim: OptimConfig
    learners: list[Learner]
    frozen: int
    """Values of the networks that do not learn."""
    zero_stage: int
    """The recipe's; 0 is also plain torch."""
    cost: Cost


@dataclass(frozen=True)
class Throughput:
    """Images per second over all GPUs, and the share of the time in which they send."""

    images_per_s: float
    exchange_share: float | None


def estimate(recipe: Recipe, means: Means) -> Plan:
    """The plan; raises UserError where the base's architecture is not known or does not fit the recipe."""
    networks, compute = build(recipe, architecture(recipe.teacher)), recipe.compute
    bf16 = uses_bf16(recipe)
    finetune, distill = trainings(recipe, networks, bf16)
    rates = throughputs(recipe, means, finetune, distill)
    return Plan(
        recipe=recipe.name,
        base=recipe.teacher.base,
        gpus=compute.workers if compute.gpus_per_worker else 0,
        workers=compute.workers,
        precision="bf16" if bf16 else "fp32",
        parameters=parameters(networks),
        stages={
            "finetune": stage_plan(finetune, compute.finetuning.workers, rates[0], means),
            "distill": stage_plan(distill, compute.workers, rates[1], means),
        },
        storage=storage(recipe, networks, finetune.learners, distill.learners),
        assumptions=assumptions(recipe, means),
    )


def trainings(recipe: Recipe, networks: Networks, bf16: bool) -> tuple[Training, Training]:
    """Fine-tuning, which runs plain torch, and distillation."""
    teachers, student = [Learner.of(networks.teacher)], Learner.of(networks.student)
    heads = [] if networks.heads is None else [Learner.of(networks.heads, shards=False)]
    if networks.tuned is not None:
        teachers.append(Learner.of(networks.tuned.decoder))
    encoders = count(networks.vae) + count(networks.text_encoder)
    beside = encoders - sum(learner.trained for learner in teachers[1:]) + count(networks.eyes)
    judges = encoders + count(networks.judge) + count(networks.features)
    zero = recipe.compute.zero_stage or 0
    return (
        Training(recipe.teacher.optim, teachers, beside, 0, finetune_cost(recipe, networks, bf16)),
        Training(recipe.distill.optim, [student, *heads], judges, zero, distill_cost(recipe, networks, bf16)),
    )


def uses_bf16(recipe: Recipe) -> bool:
    """The training's precision; on GPUs `auto` is taken for bf16, on processors for what this one would do."""
    compute = recipe.compute
    if compute.gpus_per_worker > 0:
        return compute.precision != "fp32"
    return choose(compute.precision, torch.device("cpu")) == "bf16"


def parameters(networks: Networks) -> dict[str, int]:
    """How many each network has."""
    modules = {
        "teacher UNet": networks.judge,
        "student UNet": networks.student,
        "autoencoder": networks.vae,
        "text encoder": networks.text_encoder,
        "feature network": networks.features,
        "discriminator heads": networks.heads,
    }
    found = {name: count(module) for name, module in modules.items() if module is not None}
    adapters = count(networks.teacher) - count(networks.judge)
    return found | ({"LoRA adapters": adapters} if adapters else {})


def stage_plan(training: Training, workers: int, rate: Throughput | None, means: Means) -> StagePlan:
    """One training stage, for each ZeRO stage."""
    optim, cost, images = training.optim, training.cost, total_images(training.optim)
    share = optim.batch_size // workers
    micro = share // optim.accumulation
    once = Parts(held=cost.held_bytes * share, activations=cost.cast_bytes)
    fixed = {z: training_parts(training.learners, training.frozen, z, workers) + once for z in ZERO_STAGES}
    return StagePlan(
        images=images,
        micro_batch=micro,
        zero_stage=training.zero_stage,
        memory={zero: parts + Parts(activations=cost.activation_bytes * micro) for zero, parts in fixed.items()},
        largest_micro_batch=largest(fixed, cost, share, means.gpu_memory_gib),
        flops_per_image=cost.flops,
        pace=None if rate is None else pace(images, rate, workers, means.price_per_gpu_hour),
    )


def largest(fixed: dict[int, Parts], cost: Cost, share: int, memory_gib: float | None) -> dict[int, int] | None:
    """For each ZeRO stage the largest micro-batch that fits and divides a worker's share of the batch; 0: none."""
    if memory_gib is None:
        return None
    possible = [micro for micro in range(1, share + 1) if share % micro == 0]
    fits = {z: largest_micro_batch(parts, cost.activation_bytes, memory_gib * 2**30) for z, parts in fixed.items()}
    return {zero: max((micro for micro in possible if micro <= most), default=0) for zero, most in fits.items()}


def throughputs(
    recipe: Recipe, means: Means, finetune: Training, distill: Training
) -> tuple[Throughput | None, Throughput | None]:
    """Of fine-tuning and distillation: measured, or from operations and bytes sent."""
    if means.images_per_s is not None:
        measured = means.images_per_s
        reckoned = measured * finetune.cost.flops / distill.cost.flops
        return Throughput(measured, None), Throughput(reckoned, None)
    if not recipe.compute.gpus_per_worker:
        return None, None
    compute = recipe.compute
    return guessed(finetune, compute.finetuning.workers, means), guessed(distill, compute.workers, means)


def guessed(training: Training, gpus: int, means: Means) -> Throughput:
    """A step's operations at the assumed share of the peak, and after them what is sent: nothing is hidden."""
    optim = training.optim
    computing_s = optim.batch_size / gpus * training.cost.flops / (means.gpu_tflops * 1e12 * means.utilisation)
    stages = [training.zero_stage if learner.shards else 0 for learner in training.learners]
    sent = sum(
        sent_bytes(learner.trained, stage, gpus, optim.accumulation)
        for learner, stage in zip(training.learners, stages, strict=True)
    )
    sending_s = sent / (means.link_gb_per_s * 1e9)
    return Throughput(optim.batch_size / (computing_s + sending_s), sending_s / (computing_s + sending_s))


def pace(images: int, rate: Throughput, gpus: int, price: float | None) -> Pace:
    """Time and cost of so many images."""
    hours = images / rate.images_per_s / 3600
    cost = None if price is None else hours * gpus * price
    return Pace(rate.images_per_s, 1000 / rate.images_per_s, hours, cost, rate.exchange_share)


def assumptions(recipe: Recipe, means: Means) -> list[str]:
    """All that the figures rest on."""
    measured = means.images_per_s is not None
    found = [
        "Weights, gradients, moments and averages are counted exactly, in float32 whatever the precision, and added "
        "as if all parts were there at once.",
        "Activations are an estimate: what autograd saves in float32, measured without computing, halved for bf16 "
        "(norms that stay in float32 are not), with fused attention; passes without gradient are left out.",
        f"Of a GPU's memory {CONTEXT_BYTES / 2**30:g} GiB go to its driver, and {USABLE:.0%} of the rest are usable.",
        "Fine-tuning runs plain torch, as stage 0; its other stages show what ZeRO would save.",
        f"Images in the shards take {STORED_BYTES_PER_PIXEL:g} bytes a pixel; three checkpoints are on disk at once.",
        "Time is that of the two trainings: preparing, drawing previews and evaluating come on top.",
    ]
    if measured:
        found.append("The throughput is fine-tuning's; distillation's is reckoned from it by operations.")
    elif recipe.compute.gpus_per_worker:
        found.append(
            f"Time is from operations, at {means.utilisation:.0%} of {means.gpu_tflops:g} TFLOP/s a GPU, and from the "
            f"bytes that rings of GPUs send, at {means.link_gb_per_s:g} GB/s each, none hidden behind operations; "
            "nobody has measured it. Give --images-per-s once you have."
        )
    else:
        found.append("Processors differ too much to guess their pace: give --images-per-s for time and cost.")
    if recipe.data.num_images is None:
        found.append("How many images train is not known before they are read: shards and latent cache are left out.")
    return found

"""Training steps and pictures of true architectures with random weights: their time, memory and operations."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from jobs.measuring.setting import captions, random_batch
from naruto_add import recipe as recipes
from naruto_add.config import Recipe
from naruto_add.diffusion.samplers import few_steps, sample_student, sample_teacher
from naruto_add.diffusion.schedule import load_schedule
from naruto_add.distill import Setup, build_distillation
from naruto_add.evaluation.latency import clock
from naruto_add.finetune import build_finetune
from naruto_add.models.bfloat16 import choose
from naruto_add.models.features import EFFICIENTNETS, DinoV2, FeatureNet, load_features
from naruto_add.models.folder import MINI, base_place
from naruto_add.models.load import Components, decode, encode_text, latent_shape
from naruto_add.models.quiet import quiet
from naruto_add.models.student import inherit
from naruto_add.on_ray.workers import replay_unets
from naruto_add.plan.estimate import Means, estimate
from naruto_add.plan.networks import architecture, build_autoencoder, downscale
from naruto_add.training.engine import TorchEngine, autocast
from naruto_add.training.method import Method
from naruto_add.training.state import TrainState

WARM_UP = 3
MORE = 4
"""The second micro-batch, in the recipe's own."""
GIB = 2**30
PEAK_SIZE = 8192
"""Side of the matrices whose product is taken for the device's peak; 512 on processors, to be done soon."""
STEPS_BESIDE = (50, 100)
"""The teacher's, beside a student's four and one."""


@dataclass(frozen=True)
class Measured:
    """One row."""

    recipe: str
    what: str
    images: int
    """In a step."""
    value: float
    unit: str
    peak_gib: float
    """The most that torch had allocated."""
    tflops: float | None = None
    """Operations a second as `plan` counts them, in 10^12."""
    planned_gib: float | None = None
    """What `plan` says of the memory."""


def machine(device: torch.device) -> dict[str, object]:
    """The device, what its matrix product gives in bfloat16, and torch."""
    on_gpu = device.type == "cuda"
    side = PEAK_SIZE if on_gpu else PEAK_SIZE // 16
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: a @ b, 10, device)
    name = torch.cuda.get_device_name(device) if on_gpu else "cpu"
    return {
        "device": name,
        "bf16 matrix product, TFLOP/s": round(2 * side**3 / seconds / 1e12, 2),
        "torch": torch.__version__,
    }


def rows(name: str, micro_batches: tuple[int, ...], steps: int, where: str) -> Iterator[Callable[[], Measured]]:
    """What is measured of a recipe."""
    device, recipe = torch.device(where), recipes.load(name)
    for stage, optim in (("finetune", recipe.teacher.optim), ("distill", recipe.distill.optim)):
        graphs = (False, True) if device.type == "cuda" and not optim.gradient_checkpointing else (False,)
        own = optim.batch_size // (recipe.compute.workers * optim.accumulation)
        for micro in micro_batches or (own, MORE * own):
            for replayed in graphs:
                yield partial(training, alone(name, micro, replayed, device), stage, steps, device)
    yield from (partial(drawing, recipe, True, taken, steps, device) for taken in (4, 1))
    yield from (partial(drawing, recipe, False, taken, steps, device) for taken in STEPS_BESIDE)


def alone(name: str, micro: int, replayed: bool, device: torch.device) -> Recipe:
    """The recipe on one device, a micro-batch a step, without ZeRO."""
    optim = {"batch_size": micro, "accumulation": 1, "images": 100 * micro, "warmup_images": 0}
    flags: dict[str, Any] = {
        f"{part}.optim.{key}": value for part in ("teacher", "distill") for key, value in optim.items()
    }
    gpus = float(device.type == "cuda")
    compute = {
        "workers": 1,
        "finetune_workers": None,
        "zero_stage": None,
        "gpus_per_worker": gpus,
        "cuda_graphs": replayed,
    }
    return recipes.load(name, flags | {f"compute.{key}": value for key, value in compute.items()})


def training(recipe: Recipe, stage: str, steps: int, device: torch.device) -> Measured:
    """Images a second of one stage, its memory, and both beside the plan."""
    forget(device)
    method, base = (finetuning if stage == "finetune" else distilling)(recipe, device)
    optim = recipe.teacher.optim if stage == "finetune" else recipe.distill.optim
    if recipe.compute.cuda_graphs:
        replay_unets(method, optim)
    batch = random_batch(base, captions(recipe, optim.batch_size), recipe.data.size_px)
    state = TrainState(recipe.seed, optim.batch_size)
    seconds = timed(lambda: method.step(batch, state), steps, device)
    plan = estimate(recipe, Means()).stages[stage]
    rate = len(batch) / seconds
    what = f"{stage}{', replayed' if recipe.compute.cuda_graphs else ''}"
    tflops, planned = plan.flops_per_image * rate / 1e12, plan.memory[0].total / GIB
    return Measured(recipe.name, what, len(batch), rate, "images/s", peak_gib(device), tflops, planned)


def finetuning(recipe: Recipe, device: torch.device) -> tuple[Method, Components]:
    """The method that makes the teacher."""
    base, precision = random_base(recipe, device), choose(recipe.compute.precision, device)
    return build_finetune(recipe.teacher, base, recipe.distill.size, 0, TorchEngine, device, precision), base


def distilling(recipe: Recipe, device: torch.device) -> tuple[Method, Components]:
    """The method that makes the student; a random teacher has no head start."""
    base, precision = random_base(recipe, device), choose(recipe.compute.precision, device)
    config = replace(recipe.distill, head_start=None)
    features = random_features(config.features, device)
    return build_distillation(Setup(config, base, features, 0, TorchEngine, device, precision)), base


def random_base(recipe: Recipe, device: torch.device) -> Components:
    """The recipe's base at its true architecture, made where it is used; where it has no folder, our own tokenizer."""
    found = architecture(recipe.teacher)
    place = base_place(recipe.teacher.base, recipe.teacher.revision) or MINI
    tokenizer = CLIPTokenizer.from_pretrained(place / "tokenizer", local_files_only=True)
    tokenizer.model_max_length = found.text_encoder["max_position_embeddings"]
    unet = {**found.unet, "sample_size": recipe.data.size_px // downscale(found)}
    words = {**found.text_encoder, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    with device, quiet():
        text_encoder = CLIPTextModel(CLIPTextConfig(**words)).eval()
        base = UNet2DConditionModel.from_config(unet).eval(), build_autoencoder(found.vae)
    return Components(*base, text_encoder, tokenizer, dict(found.scheduler))


def random_features(name: str, device: torch.device) -> FeatureNet:
    """The eyes of the heads; those that no package carries with random weights."""
    if name in EFFICIENTNETS:
        return load_features(name)
    with device:
        return DinoV2(None, empty=True).eval().requires_grad_(False)


@torch.no_grad()
def drawing(recipe: Recipe, by_student: bool, taken: int, steps: int, device: torch.device) -> Measured:
    """Seconds for one picture: caption, UNet passes, decoding."""
    forget(device)
    base, precision = random_base(recipe, device), choose(recipe.compute.precision, device)
    unet = inherit(base.unet, recipe.distill.size)[0].eval() if by_student else base.unet
    schedule, timesteps = load_schedule(base.scheduler_config), recipe.distill.student_timesteps
    x_T = torch.randn(1, *latent_shape(base.unet), device=device)

    def draw() -> None:
        """One picture; the student is not guided."""
        with autocast(device, precision):
            text, empty = encode_text(base, [recipe.prompts[0], ""])[0].split(1)
            if by_student:
                x0 = sample_student(unet, schedule, x_T, text, few_steps(timesteps, taken), [x_T] * (taken - 1))
            else:
                scale = recipe.evaluate.guidance_scale
                x0 = sample_teacher(unet, base.scheduler_config, x_T, text, empty[0], taken, scale)
            decode(base.vae, x0)

    who = "student" if by_student else "teacher, guided"
    seconds = timed(draw, steps, device)
    return Measured(recipe.name, f"{who}, {taken} steps", 1, 1e3 * seconds, "ms a picture", peak_gib(device))


def timed(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The median seconds of a call, warmed up."""
    times = []
    for _ in range(WARM_UP + repeats):
        began = clock(device)
        call()
        times.append(clock(device) - began)
    return median(times[WARM_UP:])


def forget(device: torch.device) -> None:
    """Give the memory of earlier rows back and count anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float:
    """The most that torch had allocated since `forget`; 0 on processors."""
    return torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else 0.0

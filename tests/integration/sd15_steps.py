"""One fine-tuning step and one ADD step of recipe sd15 on random weights at 64 px; prints what came of it as JSON.

Its word is the recipe's lora_rank. A script of its own, because its peak memory is what is tested. Only the place
differs from the recipe: float32 on the CPU instead of bf16 on GPUs, two images instead of 64 and 128, and DINOv2's
architecture with random weights.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import timm
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from naruto_add.config import Recipe
from naruto_add.data.batch import Batch
from naruto_add.distill import Setup, build_add
from naruto_add.finetune import build_finetune
from naruto_add.models.features import FeatureNet, load_features
from naruto_add.models.load import Components, encode_images, encode_text
from naruto_add.recipe import load
from naruto_add.training.state import TrainState
from tests.tiny import EPSILON, tiny_tokenizer

SIZE_PX = 64
BATCH = 2
STAGES = 4


def sd15() -> Components:
    """The parts of Stable Diffusion 1.5 as their config.json files describe them, with random weights."""
    cross, plain = "CrossAttnDownBlock2D", "DownBlock2D"
    unet = UNet2DConditionModel(
        sample_size=SIZE_PX // 8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=(cross, cross, cross, plain),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
        layers_per_block=2,
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * STAGES,
        up_block_types=("UpDecoderBlock2D",) * STAGES,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    tokenizer = CLIPTokenizer(vocab=tiny_tokenizer().get_vocab(), merges=[], model_max_length=77)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    return Components(unet, vae.eval(), text_encoder.eval(), tokenizer, dict(EPSILON))


def dinov2() -> FeatureNet:
    """DINOv2 ViT-S/14 with random weights, through the file that the recipe would name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dinov2.safetensors"
        body = timm.create_model("vit_small_patch14_dinov2.lvd142m", dynamic_img_size=True, num_classes=0)
        save_file(body.state_dict(), path)
        return load_features("dinov2_vits14", str(path))


def small(recipe: Recipe, lora_rank: int | None) -> Recipe:
    """The recipe with two images a step, in two micro-batches."""
    optim = {"batch_size": BATCH, "images": BATCH, "accumulation": BATCH, "warmup_images": 0}
    return replace(
        recipe,
        teacher=replace(recipe.teacher, lora_rank=lora_rank, optim=replace(recipe.teacher.optim, **optim)),
        distill=replace(recipe.distill, size="tiny", optim=replace(recipe.distill.optim, **optim)),
    )


def batch(base: Components) -> Batch:
    """Two random images with captions, encoded."""
    pixels = torch.rand(BATCH, 3, SIZE_PX, SIZE_PX) * 2 - 1
    text, pooled = encode_text(base, ["a ninja in the rain", "un ninja"])
    return Batch([0, 1], [0, 1], encode_images(base.vae, pixels), text, pooled, pixels)


def sample(module: nn.Module) -> Tensor:
    """A few of a module's weights, to see whether they move."""
    return torch.cat([p.detach().flatten()[:8] for p in module.parameters()]).clone()


def moved(module: nn.Module, before: Tensor) -> float:
    """How far the sampled weights have moved."""
    return (sample(module) - before).abs().max().item()


def parameters(module: nn.Module) -> int:
    """How many weights a module has."""
    return sum(p.numel() for p in module.parameters())


def finetuned(recipe: Recipe, base: Components, images: Batch) -> tuple[Components, float]:
    """The averaged teacher after one step, and how far its weights moved."""
    method = build_finetune(recipe.teacher, base, recipe.distill.size, recipe.seed)
    before = sample(method.player.module)
    method.step(images, TrainState(recipe.seed, BATCH))
    teacher = replace(base, unet=method.player.ema) if recipe.teacher.lora_rank is None else method.components()
    return teacher, moved(method.player.module, before)


def main() -> None:
    """Both steps, in the order of the pipeline."""
    torch.manual_seed(0)
    recipe, base = small(load("sd15"), json.loads(sys.argv[1])), sd15()
    names = {"unet": base.unet, "vae": base.vae, "text": base.text_encoder}
    found: dict[str, float] = {f"{name}_parameters": parameters(module) for name, module in names.items()}
    images = batch(base)
    del names
    teacher, found["teacher_moved"] = finetuned(recipe, base, images)
    del base
    gc.collect()  # of the optimizer, which in the pipeline ends with its stage's process
    method = build_add(Setup(recipe.distill, teacher, dinov2(), recipe.seed))
    players = {"student": method.student.module, "heads": method.heads.module, "judge": teacher.unet}
    before = {name: sample(module) for name, module in players.items()}
    method.step(images, TrainState(recipe.seed, BATCH))
    found |= {f"{name}_moved": moved(module, before[name]) for name, module in players.items()}
    found["student_parameters"] = parameters(method.student.module)
    found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

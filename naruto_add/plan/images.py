"""What one training image costs: operations, and bytes that autograd keeps. Estimates, from passes on the meta device.

A backward pass is counted as two forward ones where weights learn and as one where gradients only pass through;
recomputing checkpointed blocks adds one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from naruto_add.config import DistillConfig, Recipe, TeacherConfig
from naruto_add.diffusion.guidance import predict
from naruto_add.distill.eyes import encoder_maps, reduced
from naruto_add.finetune import crop_side
from naruto_add.models.load import decode
from naruto_add.plan.memory import BF16, FP32
from naruto_add.plan.networks import Networks, count
from naruto_add.plan.passes import Pass, measure

LEARN, PASS_THROUGH, LOOK = 3, 2, 1
"""Forward passes' worth of operations: with gradients for weights and input, for the input alone, without any."""


@dataclass(frozen=True)
class Cost:
    """Of one training image."""

    flops: float
    activation_bytes: int
    """Of each image in a micro-batch."""
    cast_bytes: int = 0
    """Bfloat16 copies of weights that autograd keeps, once a micro-batch."""
    held_bytes: int = 0
    """Of each image of a worker's share of the batch, for the heads' turn."""


@dataclass(frozen=True)
class Inputs:
    """One image and its caption, without content."""

    latents: Tensor
    text: Tensor
    t: Tensor
    pixels: Tensor

    @staticmethod
    def of(recipe: Recipe, networks: Networks) -> Inputs:
        """Their shapes: latents (1,C,h,w), text (1,L,D), t (1,), pixels (1,3,H,W)."""
        unet, words, side = networks.judge.config, networks.text_encoder.config, recipe.data.size_px
        latents = torch.empty(1, unet["in_channels"], *[unet["sample_size"]] * 2, device="meta", requires_grad=True)
        text = torch.empty(1, words.max_position_embeddings, words.hidden_size, device="meta")
        pixels = torch.empty(1, 3, side, side, device="meta", requires_grad=True)
        return Inputs(latents, text, torch.zeros(1, dtype=torch.long, device="meta"), pixels)


def finetune_cost(recipe: Recipe, networks: Networks, bf16: bool) -> Cost:
    """An image of fine-tuning: the UNet forth and back."""
    inputs, again = Inputs.of(recipe, networks), recipe.teacher.optim.gradient_checkpointing
    unet = networks.teacher
    passed = measure(lambda: predict(unet, inputs.latents, inputs.t, inputs.text), unet, checkpointing=again)
    cost = Cost((LEARN + again) * passed.flops, scaled(passed.saved_bytes, bf16), bf16 * BF16 * count(unet))
    return cost if networks.tuned is None else with_decoder(cost, recipe.teacher, networks, inputs, bf16)


def with_decoder(cost: Cost, config: TeacherConfig, networks: Networks, inputs: Inputs, bf16: bool) -> Cost:
    """The decoder too, after the UNet, on crops of a share of the images."""
    vae, eyes = networks.tuned, networks.eyes
    assert vae is not None and eyes is not None, "no decoder learns"
    side = crop_side(config, inputs.pixels.shape[-1] // inputs.latents.shape[-1], inputs.latents.shape)
    decoded: list[Tensor] = []
    drawn = measure(lambda: decoded.append(decode(vae, inputs.latents[..., :side, :side])), vae)
    looks = measure(lambda: eyes(decoded[0].detach().requires_grad_()), eyes)
    return replace(
        cost,
        flops=cost.flops + config.decoder_share * (LEARN * drawn.flops + (PASS_THROUGH + LOOK) * looks.flops),
        activation_bytes=max(
            cost.activation_bytes, round(config.decoder_share * scaled(drawn.saved_bytes + looks.saved_bytes, bf16))
        ),
        cast_bytes=max(cost.cast_bytes, bf16 * BF16 * (count(vae.decoder) + count(eyes))),
    )


def distill_cost(recipe: Recipe, networks: Networks, bf16: bool) -> Cost:
    """An image of distillation: the student forth and back, the teacher's target, and the discriminator's eyes."""
    config, inputs = recipe.distill, Inputs.of(recipe, networks)
    again, student = config.optim.gradient_checkpointing, networks.student
    passed = measure(lambda: predict(student, inputs.latents, inputs.t, inputs.text), student, checkpointing=again)
    with torch.no_grad():
        judged = measure(lambda: predict(networks.judge, inputs.latents, inputs.t, inputs.text), networks.judge)
    flops = (LEARN + again + student_looks(config)) * passed.flops + teacher_passes(config) * judged.flops
    cost = Cost(flops, scaled(passed.saved_bytes, bf16), bf16 * BF16 * count(student))
    if config.method == "add":
        cost = with_pixels(cost, config, networks, inputs, bf16)
    return with_latents(cost, networks, inputs, bf16) if config.method == "ladd" or config.two_spaces else cost


def teacher_passes(config: DistillConfig) -> int:
    """Passes of the teacher for one target."""
    guided = 1 if config.teacher_guidance == 1 else 2
    if config.method == "lcm":
        return guided
    if config.method == "output":
        return config.teacher_steps * guided + (config.feature_weight > 0)
    if not config.distill_weight:
        return 0
    if config.weighting == "nfsd" and config.target == "renoised":
        return 2 + (config.negative_prompt is not None)
    return config.teacher_steps * guided


def student_looks(config: DistillConfig) -> int:
    """Further passes of the student without gradient."""
    simulated = len(config.student_timesteps) - 1 if config.simulated_share else 0
    return simulated + (config.method == "lcm")


def with_pixels(cost: Cost, config: DistillConfig, networks: Networks, inputs: Inputs, bf16: bool) -> Cost:
    """The autoencoder's decoder and the feature network: gradients pass through both to the student."""
    vae, features = networks.vae, networks.features
    assert features is not None, "ADD looks at pixels"
    decoded = measure(lambda: decode(vae, inputs.latents), vae)
    seen: list[Tensor] = []
    looks = measure(lambda: seen.extend(maps(config, networks, inputs.pixels)), features)
    decodings = PASS_THROUGH + LOOK * ((config.distill_weight > 0) + (config.real_images == "decoded"))
    viewings = PASS_THROUGH + LOOK
    if config.perceptual_weight:
        viewings += PASS_THROUGH + LOOK
    kept = decoded.saved_bytes + looks.saved_bytes * (2 if config.perceptual_weight else 1)
    held = 2 * FP32 * (inputs.pixels.numel() + sum(level.numel() for level in seen))
    return Cost(
        cost.flops + decodings * decoded.flops + viewings * looks.flops,
        cost.activation_bytes + scaled(kept, bf16),
        cost.cast_bytes + bf16 * BF16 * (count(vae.decoder) + count(features)),
        cost.held_bytes + held,
    )


def with_latents(cost: Cost, networks: Networks, inputs: Inputs, bf16: bool) -> Cost:
    """The teacher's encoder as the discriminator's eye."""
    judge = networks.judge
    seen: list[Tensor] = []
    looks: Pass = measure(lambda: seen.extend(encoder_maps(judge, inputs.latents, inputs.t, inputs.text)), judge)
    return Cost(
        cost.flops + (PASS_THROUGH + LOOK) * looks.flops,
        cost.activation_bytes + scaled(looks.saved_bytes, bf16),
        cost.cast_bytes + bf16 * BF16 * count(judge),
        cost.held_bytes + 2 * FP32 * sum(level.numel() for level in seen),
    )


def maps(config: DistillConfig, networks: Networks, pixels: Tensor) -> list[Tensor]:
    """The feature network's levels at every scale."""
    assert networks.features is not None, "ADD looks at pixels"
    return [level for scale in config.scales for level in networks.features(reduced(pixels, scale))]


def scaled(float32_bytes: int, bf16: bool) -> int:
    """The bytes in the training's precision."""
    return float32_bytes * BF16 // FP32 if bf16 else float32_bytes

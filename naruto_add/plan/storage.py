"""What a run writes under --run, in bytes."""

from __future__ import annotations

from naruto_add.config import Recipe
from naruto_add.plan.memory import FP32, MOMENTS, Learner
from naruto_add.plan.networks import Networks, count
from naruto_add.training.checkpoint import KEEP

HALF = 2
STORED_BYTES_PER_PIXEL = 2.0
"""Of an image in the shards (PNG of drawings, JPEG of photographs take less): an assumption."""


def storage(recipe: Recipe, networks: Networks, teacher: list[Learner], student: list[Learner]) -> dict[str, int]:
    """Bytes by what is written; without shards and latent cache where `data.num_images` leaves their number open."""
    images = recipe.data.num_images
    frozen = count(networks.vae) + count(networks.text_encoder)
    model = FP32 * (count(networks.student) + frozen)
    found = {
        "teacher": FP32 * (count(networks.judge) + frozen),
        "student": model,
        "bundle": model,
        "finetune checkpoints": (KEEP + 1) * checkpoint(teacher),
        "distill checkpoints": (KEEP + 1) * checkpoint(student),
    }
    if images is not None:
        found["shards"] = int((images + recipe.data.num_heldout) * recipe.data.size_px**2 * STORED_BYTES_PER_PIXEL)
        found["latent cache"] = images * cached(networks)
    return found


def checkpoint(learners: list[Learner]) -> int:
    """One checkpoint: weights, average and moments of what learns, weights and average of buffers."""
    return sum(FP32 * ((2 + MOMENTS) * one.trained + 2 * one.buffers) for one in learners)


def cached(networks: Networks) -> int:
    """An image in the latent cache: latents and pooled caption in float32, the caption's states in half precision."""
    unet, words = networks.judge.config, networks.text_encoder.config
    latents = unet["in_channels"] * unet["sample_size"] ** 2
    return FP32 * (latents + words.hidden_size) + HALF * words.max_position_embeddings * words.hidden_size

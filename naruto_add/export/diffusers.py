"""The bundle: a plain diffusers folder that draws in a few steps where naruto-add is absent.

`DiffusionPipeline.from_pretrained(folder)` gives a LatentConsistencyModelPipeline, whose call without arguments makes
four passes without guidance. Three settings make its passes ours:
- the scheduler's `original_inference_steps` is the number of student timesteps N, so that N steps are exactly those
  timesteps, and fewer are spread over them as in `diffusion.samplers.few_steps`;
- `timestep_scaling` is so large that the boundary terms of consistency models vanish (c_skip < 1e-13, c_out = 1);
- the pipeline embeds a guidance scale; the UNet gets the projection that it asks for, with weight zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler, UNet2DConditionModel

from naruto_add.errors import UserError
from naruto_add.models.load import Components, cast, forget_places, write_for_transformers_4
from naruto_add.models.quiet import quiet

GUIDANCE_EMBEDDING = 256
"""Width of the pipeline's embedding of the guidance scale, as in every latent consistency model."""
CONDITION = "time_embedding.cond_proj.weight"
TIMESTEP_SCALING = 1e4
SCHEDULE_SETTINGS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
)
"""What the few-step scheduler takes over from the scheduler that the student was trained with."""


def write_bundle(student: Components, num_timesteps: int, folder: Path, half: bool = False) -> None:
    """Write the student, trained at `num_timesteps` evenly spaced timesteps, as a pipeline folder in float32.

    `half` stores UNet and autoencoder in float16; transformers would compute in what the text encoder is stored in.
    """
    unet = with_guidance_input(student.unet)
    with quiet():
        pipeline = LatentConsistencyModelPipeline(
            vae=cast(student.vae, torch.float16) if half else student.vae,
            text_encoder=student.text_encoder,
            tokenizer=student.tokenizer,
            unet=cast(unet, torch.float16) if half else unet,
            scheduler=few_step_scheduler(student.scheduler_config, num_timesteps),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(folder, safe_serialization=True)
    forget_places(folder)
    write_for_transformers_4(folder)


def few_step_scheduler(config: Mapping[str, Any], num_timesteps: int) -> LCMScheduler:
    """The scheduler whose timesteps are the student's: predict x0, add fresh noise at the next timestep.

    The pipeline starts from pure noise whatever the betas say, which is the zero terminal SNR of ADD; an
    epsilon-prediction student keeps the alphas of its training, as in `Schedule.student_input`.
    """
    kept = {key: config[key] for key in SCHEDULE_SETTINGS if key in config}
    return LCMScheduler(**kept, original_inference_steps=num_timesteps, timestep_scaling=TIMESTEP_SCALING)


def with_guidance_input(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy of the UNet that takes an embedded guidance scale and adds zero times it to its time embedding."""
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    config["time_cond_proj_dim"] = GUIDANCE_EMBEDDING
    with torch.device("meta"):
        wider = UNet2DConditionModel.from_config(config)
    weights = dict(unet.state_dict())
    weights[CONDITION] = torch.zeros(wider.state_dict()[CONDITION].shape)
    wider.load_state_dict(weights, assign=True)
    return wider.eval()


def open_bundle(folder: Path) -> LatentConsistencyModelPipeline:
    """The bundle as plain diffusers opens it; raises UserError if it is none."""
    try:
        with quiet():
            pipeline = LatentConsistencyModelPipeline.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder}: not a bundle of naruto-add ({error}). Make one with naruto-add export.") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline

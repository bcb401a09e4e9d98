"""A prompt and a seed to a picture, from a bundle: the same picture that plain diffusers draws from them.

With `generator=torch.Generator().manual_seed(seed)` the pipeline takes its first noise and every fresh one from that
generator, so a picture is a function of bundle, prompt, seed and steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import LatentConsistencyModelPipeline
from PIL import Image

from naruto_add.artifact import Artifact, open_artifact, verify
from naruto_add.errors import UserError
from naruto_add.export.diffusers import open_bundle

SHIPPED = Path(__file__).parent / "assets" / "mini" / "student"
"""The student that comes with the package."""
MAX_SEED = 2**63 - 1


def generate(prompt: str, bundle: Path = SHIPPED, steps: int | None = None, seed: int = 0) -> Image.Image:
    """Draw a picture; `steps` None: the bundle's default. Raises UserError for an altered bundle or wrong settings."""
    artifact = open_artifact(bundle, "bundle")
    verify(artifact)
    pipeline = open_bundle(bundle)
    return draw(pipeline, prompt, checked_steps(artifact, pipeline, steps), checked_seed(seed))


def draw(pipeline: LatentConsistencyModelPipeline, prompt: str, steps: int, seed: int) -> Image.Image:
    """One picture of an open bundle, on the accelerator if there is one; noise is always drawn on the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(seed)
    return pipeline.to(device)(prompt, num_inference_steps=steps, generator=generator).images[0]


def checked_steps(bundle: Artifact, pipeline: LatentConsistencyModelPipeline, steps: int | None) -> int:
    """The number of passes; raises UserError for more than the student was trained for."""
    most = pipeline.scheduler.config.original_inference_steps
    wanted = bundle.manifest.config["export"]["steps"] if steps is None else steps
    if not 1 <= wanted <= most:
        raise UserError(f"--steps {wanted}: this student draws in 1 to {most} steps.")
    return wanted


def checked_seed(seed: int) -> int:
    """The seed; raises UserError outside the generator's range."""
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"--seed {seed}: seeds go from 0 to {MAX_SEED}.")
    return seed

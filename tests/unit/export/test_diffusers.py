from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image, ImageChops
from torch import Tensor

from naruto_add import artifact
from naruto_add.artifact import Artifact
from naruto_add.diffusion.samplers import few_steps, sample_student
from naruto_add.diffusion.schedule import load_schedule
from naruto_add.errors import UserError
from naruto_add.export.diffusers import open_bundle, write_bundle
from naruto_add.generate import generate
from naruto_add.models.load import Components, encode_text
from naruto_add.models.student import inherit
from tests.tiny import EPSILON, LATENT_PX, SIZE_PX, V_ZERO_SNR, tiny_components

TIMESTEPS = (249, 499, 749, 999)
PROMPT = "Un ninja encapuchonné manipulant du feu bleu"


def student(scheduler_config: dict[str, object], adds_text: bool = False) -> Components:
    """A compact student of the tiny base."""
    components = tiny_components(scheduler_config=scheduler_config, adds_text=adds_text)
    components.unet, _ = inherit(components.unet, "base")
    return components


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A committed bundle of the tiny student, four steps by default."""
    path = tmp_path_factory.mktemp("run") / "bundle"
    return artifact.build(
        path,
        kind="bundle",
        config={"export": {"steps": 4}},
        parents={},
        make=lambda folder: write_bundle(student(V_ZERO_SNR), 4, folder),
    )


def our_latents(ours: Components, steps: int, seed: int) -> Tensor:
    """What the student draws by our own sampler from a pipeline's noise."""
    generator = torch.Generator().manual_seed(seed)
    x_T, *noises = [torch.randn(1, 4, LATENT_PX, LATENT_PX, generator=generator) for _ in range(steps)]
    text, _ = encode_text(ours, [PROMPT])
    return sample_student(
        ours.unet, load_schedule(ours.scheduler_config), x_T, text, few_steps(TIMESTEPS, steps), noises
    )


@pytest.mark.parametrize("scheduler_config", [V_ZERO_SNR, EPSILON], ids=["v", "eps"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_pipeline_makes_our_passes(scheduler_config: dict[str, object], steps: int, tmp_path: Path) -> None:
    ours = student(scheduler_config)
    write_bundle(ours, len(TIMESTEPS), tmp_path)
    pipeline = open_bundle(tmp_path)

    generator = torch.Generator().manual_seed(5)
    theirs = pipeline(PROMPT, num_inference_steps=steps, generator=generator, output_type="latent").images

    x0 = our_latents(ours, steps, seed=5)
    assert x0.abs().max() > 0.1
    torch.testing.assert_close(theirs, x0, rtol=1e-6, atol=1e-5)


def test_a_student_that_adds_the_pooled_text_opens_in_plain_diffusers(tmp_path: Path) -> None:
    ours = student(V_ZERO_SNR, adds_text=True)
    write_bundle(ours, len(TIMESTEPS), tmp_path)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet.config["addition_embed_type"] == "text"

    theirs = pipeline(PROMPT, generator=torch.Generator().manual_seed(5), output_type="latent").images

    torch.testing.assert_close(theirs, our_latents(ours, 4, seed=5), rtol=1e-6, atol=1e-5)


def test_half_the_bytes_draw_nearly_the_same(tmp_path: Path) -> None:
    ours = student(V_ZERO_SNR)
    for name in ("whole", "half"):
        write_bundle(ours, len(TIMESTEPS), tmp_path / name, half=name == "half")
    sizes = [
        (tmp_path / name / "unet/diffusion_pytorch_model.safetensors").stat().st_size for name in ("whole", "half")
    ]
    assert sizes[1] < 0.6 * sizes[0]
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "half")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet.dtype == pipeline.text_encoder.dtype == pipeline.vae.dtype == torch.float32

    theirs = pipeline(PROMPT, generator=torch.Generator().manual_seed(5), output_type="latent").images

    assert 0 < (theirs - our_latents(ours, 4, seed=5)).abs().max() < 0.05


def test_the_default_call_takes_four_unguided_passes(bundle: Artifact) -> None:
    pipeline = open_bundle(bundle.path)
    passes = []
    pipeline.unet.register_forward_hook(lambda module, inputs, output: passes.append(int(inputs[1])))

    image = pipeline(PROMPT).images[0]

    assert passes == [999, 749, 499, 249]
    assert image.size == (SIZE_PX, SIZE_PX)


def test_guidance_changes_nothing(bundle: Artifact) -> None:
    pipeline = open_bundle(bundle.path)
    latents = [
        pipeline(PROMPT, guidance_scale=s, generator=torch.Generator().manual_seed(1), output_type="latent").images
        for s in (1.0, 12.0)
    ]
    assert torch.equal(*latents)


def test_plain_diffusers_draws_the_same_picture_where_our_package_is_absent(bundle: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "theirs.png"
    code = f"""
import sys
sys.modules["naruto_add"] = None  # importing it fails from here on
import torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained({str(bundle.path)!r})
pipe({PROMPT!r}, generator=torch.Generator().manual_seed(7)).images[0].save({str(out)!r})
"""
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=tmp_path, capture_output=True)

    with Image.open(out) as theirs:
        assert theirs.size == (SIZE_PX, SIZE_PX)
        assert ImageChops.difference(theirs, generate(PROMPT, bundle.path, seed=7)).getbbox() is None


def test_same_seed_same_picture_other_seed_another(bundle: Artifact) -> None:
    first, again, other = (generate(PROMPT, bundle.path, seed=seed) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_steps_default_to_the_bundles_and_stop_at_the_students(bundle: Artifact) -> None:
    assert generate(PROMPT, bundle.path).tobytes() == generate(PROMPT, bundle.path, steps=4).tobytes()
    assert generate(PROMPT, bundle.path, steps=1).tobytes() != generate(PROMPT, bundle.path, steps=4).tobytes()
    for steps in (0, 5):
        with pytest.raises(UserError, match="1 to 4 steps"):
            generate(PROMPT, bundle.path, steps=steps)
    with pytest.raises(UserError, match="seeds go from 0"):
        generate(PROMPT, bundle.path, seed=-1)


def test_only_safetensors_json_and_text_are_written(bundle: Artifact) -> None:
    suffixes = {path.suffix for path in bundle.path.rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".txt", ".md"}


def test_an_altered_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    config = {"export": {"steps": 4}}
    make = lambda folder: write_bundle(student(V_ZERO_SNR), 4, folder)  # noqa: E731
    artifact.build(path, kind="bundle", config=config, parents={}, make=make)
    weights = path / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(UserError, match="content changed since it was made"):
        generate(PROMPT, path)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a bundle"):
        open_bundle(tmp_path)
    with pytest.raises(UserError, match="no bundle there"):
        generate(PROMPT, tmp_path)

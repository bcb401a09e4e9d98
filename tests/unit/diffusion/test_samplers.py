"""Samplers against diffusers' schedulers, with real tiny UNets."""

from __future__ import annotations

import pytest
import torch
from diffusers import LCMScheduler, StableDiffusionPipeline
from torch import Tensor, nn

from naruto_add.diffusion.guidance import guided, predict, predict_both, predict_guided
from naruto_add.diffusion.samplers import (
    dpm_solver,
    few_steps,
    initial_noise,
    renoise_noises,
    sample_student,
    sample_teacher,
)
from naruto_add.diffusion.schedule import ddim, load_schedule
from naruto_add.errors import UserError
from naruto_add.models.load import encode_text
from tests.tiny import EPSILON, LATENT_PX, V_ZERO_SNR, tiny_components, tiny_unet

TIMESTEPS = (249, 499, 749, 999)
SHAPE = (4, LATENT_PX, LATENT_PX)
CONFIGS = [V_ZERO_SNR, EPSILON]


class Denoiser(nn.Module):
    """The exact model of a standard normal x0: its guess is alpha x_t, so every sample must stay standard normal."""

    def __init__(self, config: dict[str, object]) -> None:
        super().__init__()
        self.schedule = load_schedule(config)

    def forward(self, x_t: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> Denoiser:
        alpha, sigma = self.schedule.alpha(t, x_t), self.schedule.sigma(t, x_t)
        x0, eps = alpha * x_t, sigma * x_t
        self.sample = eps if self.schedule.prediction_type == "epsilon" else alpha * eps - sigma * x0
        return self


def text_of(count: int) -> Tensor:
    return encode_text(tiny_components(), [f"ninja {i}" for i in range(count)])[0]


@pytest.mark.parametrize(
    ("steps", "expected"), [(4, (999, 749, 499, 249)), (3, (999, 749, 499)), (2, (999, 499)), (1, (999,))]
)
def test_few_steps_are_those_of_lcm(steps: int, expected: tuple[int, ...]) -> None:
    assert few_steps(TIMESTEPS, steps) == expected
    scheduler = LCMScheduler(original_inference_steps=4)
    scheduler.set_timesteps(steps)
    assert tuple(scheduler.timesteps.tolist()) == expected


@pytest.mark.parametrize("steps", [0, 5])
def test_steps_the_student_does_not_know_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match="1 to 4"):
        few_steps(TIMESTEPS, steps)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_student_sampler_is_lcm_scheduler(config: dict[str, object], steps: int) -> None:
    unet, text = tiny_unet(), text_of(1)
    x_T, generator = initial_noise(SHAPE, 0, [7]), torch.Generator().manual_seed(5)
    scheduler = LCMScheduler.from_config(config, original_inference_steps=4)
    scheduler.set_timesteps(steps)
    theirs = x_T
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = unet(theirs, t, encoder_hidden_states=text).sample
            theirs = scheduler.step(output, t, theirs, generator=generator).prev_sample
    generator.manual_seed(5)
    noises = [torch.randn(1, *SHAPE, generator=generator) for _ in range(steps - 1)]
    ours = sample_student(unet, load_schedule(config), x_T, text, few_steps(TIMESTEPS, steps), noises)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4])
def test_an_image_does_not_depend_on_its_batch(steps: int) -> None:
    unet, schedule, text = tiny_unet(), load_schedule(V_ZERO_SNR), text_of(3)
    timesteps = few_steps(TIMESTEPS, steps)

    def draw(positions: list[int]) -> Tensor:
        noises = renoise_noises(SHAPE, 1, positions, steps)
        return sample_student(unet, schedule, initial_noise(SHAPE, 1, positions), text[positions], timesteps, noises)

    alone = torch.cat([draw([0]), draw([1]), draw([2])])
    torch.testing.assert_close(draw([0, 1, 2]), alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(draw([2, 0]), alone[[2, 0]], rtol=1e-4, atol=1e-5)


def test_renoising_is_fresh_at_every_step() -> None:
    first, second, third = renoise_noises(SHAPE, 0, [0], 4)
    x_T = initial_noise(SHAPE, 0, [0])
    assert len({float(noise.sum()) for noise in (first, second, third, x_T)}) == 4


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("steps", [1, 2, 4, 25])
def test_teacher_sampler_with_the_exact_model(config: dict[str, object], steps: int) -> None:
    """Solved exactly, the probability flow of a standard normal is the identity; one step gives x0 = alpha_T x_T."""
    x_T, text = initial_noise((4, 16, 16), 0, range(4)), torch.zeros(4, 1, 1)
    x0 = sample_teacher(Denoiser(config), config, x_T, text, text[0], steps, guidance_scale=3.0)
    assert torch.isfinite(x0).all()
    if steps == 25:
        torch.testing.assert_close(x0, x_T, rtol=0, atol=0.15)


def test_teacher_sampler_is_the_pipeline_with_dpm_solver() -> None:
    components = tiny_components()
    text, _ = encode_text(components, ["a ninja", ""])
    x_T = initial_noise(SHAPE, 0, [3])
    ours = sample_teacher(components.unet, components.scheduler_config, x_T, text[:1], text[1], 6, 3.0)
    pipeline = StableDiffusionPipeline(
        components.vae,
        components.text_encoder,
        components.tokenizer,
        components.unet,
        ddim(components.scheduler_config),
        None,
        None,
        requires_safety_checker=False,
    )
    pipeline.scheduler = dpm_solver(components.scheduler_config, 6, x_T.device)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "a ninja", num_inference_steps=6, guidance_scale=3.0, latents=x_T, output_type="latent", height=32, width=32
    ).images
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_teacher_sampler_starts_at_the_last_timestep_whatever_the_base_says() -> None:
    assert dpm_solver(EPSILON, 2, torch.device("cpu")).timesteps[0] == 999


def test_guidance() -> None:
    unet, text, x_t, t = tiny_unet(), text_of(2), initial_noise(SHAPE, 0, [0, 1]), torch.tensor([10, 900])
    empty = torch.zeros_like(text[0])
    with torch.no_grad():
        cond, uncond = predict_both(unet, x_t, t, text, empty)
        torch.testing.assert_close(cond, predict(unet, x_t, t, text))
        torch.testing.assert_close(uncond, predict(unet, x_t, t, empty.expand_as(text)))
        torch.testing.assert_close(predict_guided(unet, x_t, t, text, empty, 1.0), cond)
        torch.testing.assert_close(predict_guided(unet, x_t, t, text, empty, 3.0), uncond + 3 * (cond - uncond))
    assert torch.equal(guided(cond, uncond, 0.0), uncond)

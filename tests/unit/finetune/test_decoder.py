"""The decoder as a second player of fine-tuning: it learns, its encoder does not, and nothing depends on the batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from naruto_add import rng
from naruto_add.config import OptimConfig, TeacherConfig
from naruto_add.data import latents
from naruto_add.data.batch import Batch
from naruto_add.finetune import FineTune, build_finetune
from naruto_add.models.load import encode_images, load_components, save_components
from naruto_add.training.state import TrainState
from tests.tiny import LATENT_PX, TEXT_DIM, tiny_components

OPTIM = OptimConfig(images=64, batch_size=4, learning_rate=1e-3, ema_images=4)
FACTOR = 4
CONFIG = TeacherConfig(optim=OPTIM, decoder_share=0.5, decoder_crop_px=16, decoder_learning_rate=3e-3)


def built(config: TeacherConfig = CONFIG) -> FineTune:
    return build_finetune(config, tiny_components(), "base", seed=0)


def batch_of(method: FineTune, positions: list[int]) -> Batch:
    pixels = (
        rng.uniform(1, "pixels", positions).view(-1, 1, 1, 1).expand(-1, 3, FACTOR * LATENT_PX, FACTOR * LATENT_PX) * 2
        - 1
    )
    text = rng.normal((48, TEXT_DIM), 1, "text", positions)
    with torch.no_grad():
        found = encode_images(method.base.vae, pixels)
    return Batch(positions, positions, found, text, text[:, 0], pixels.contiguous())


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_it_learns_to_draw_and_the_encoder_stays() -> None:
    method = built(replace(CONFIG, decoder_share=1.0))
    encoder, decoder = weights(method.base.vae.encoder), weights(method.base.vae.decoder)
    batch, logs = batch_of(method, [0, 1, 2, 3]), []
    for _ in range(12):
        logs.append(method.step(batch, TrainState(0, 4)))
    assert logs[-1]["decoder_l1"] < 0.8 * logs[0]["decoder_l1"]
    assert logs[-1]["decoder_grad_norm"] > 0 and logs[-1]["decoder_perceptual"] > 0
    assert equal(weights(method.base.vae.encoder), encoder)
    assert not equal(weights(method.base.vae.decoder), decoder)


def test_without_a_share_it_is_the_base_s(tmp_path: Path) -> None:
    method = built(replace(CONFIG, decoder_share=0.0))
    assert set(method.players) == {"teacher"} and not method.needs_pixels
    assert method.components().vae is method.base.vae


def test_the_averaged_decoder_is_what_is_saved_and_latents_stay_good(tmp_path: Path) -> None:
    method = built()
    save_components(method.base, tmp_path / "base")
    method.step(batch_of(method, [0, 1, 2, 3]), TrainState(0, 4))
    save_components(method.components(), tmp_path / "teacher")
    saved = load_components(str(tmp_path / "teacher"))
    assert equal(weights(saved.vae.decoder), weights(method.decoder.player.ema))
    assert not equal(weights(saved.vae.decoder), weights(method.base.vae.decoder))
    assert latents.digest(saved) == latents.digest(load_components(str(tmp_path / "base")))


def test_a_share_of_the_images_is_looked_at_whatever_batch_they_are_in() -> None:
    whole, parts = built(), built(replace(CONFIG, optim=replace(OPTIM, accumulation=4)))
    for method in (whole, parts):
        log = method.step(batch_of(method, [0, 1, 2, 3]), TrainState(0, 4))
        assert log["decoder_l1"] > 0
    found, wanted = (dict(method.decoder.player.tensors()) for method in (parts, whole))
    gradients = [name for name in wanted if name.endswith("exp_avg")]
    assert gradients and all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in gradients)


def test_a_batch_of_which_none_is_chosen_changes_no_gradient() -> None:
    method = built()
    unchosen = [p for p in range(40) if rng.uniform(0, "decoder-share", [p]) >= CONFIG.decoder_share][:2]
    log = method.decoder.backward(batch_of(method, unchosen), 0)
    assert log == {"decoder_l1": 0, "decoder_perceptual": 0}
    assert all(p.grad is not None and not p.grad.any() for p in method.decoder.player.parameters.values())


@pytest.mark.parametrize(("crop_px", "side"), [(11, 2), (1, 1), (10_000, LATENT_PX)])
def test_crops_show_latents_and_pixels_of_one_place(crop_px: int, side: int) -> None:
    method = built(replace(CONFIG, decoder_crop_px=crop_px))
    rows = torch.arange(LATENT_PX)
    place = (rows[:, None] * LATENT_PX + rows).float()
    pixels = place.repeat_interleave(FACTOR, 0).repeat_interleave(FACTOR, 1).expand(2, 3, -1, -1)
    batch = Batch([5, 6], [5, 6], place.expand(2, 4, -1, -1), torch.zeros(2, 48, TEXT_DIM), torch.zeros(2, 8), pixels)
    small, large = method.decoder.crops(batch, torch.tensor([0, 1]), [5, 6], 0)
    assert small.shape == (2, 4, side, side) and large.shape == (2, 3, FACTOR * side, FACTOR * side)
    assert torch.equal(large[:, :, ::FACTOR, ::FACTOR], small[:, :3])

import pytest
import torch

from naruto_add.diffusion.schedule import load_schedule
from naruto_add.pretrain import architecture
from naruto_add.pretrain.autoencoder import AutoencoderConfig, latent_penalty, train_autoencoder
from naruto_add.pretrain.base import BaseConfig, Corpus, train_base
from naruto_add.pretrain.corpus import captions, load_images, read_captions, scenes_to_read
from naruto_add.pretrain.drawing import draw_images
from naruto_add.pretrain.text import TextConfig, train_text_encoder
from tests.tiny import TinyFeatures, tiny_text_encoder, tiny_tokenizer, tiny_unet, tiny_vae

pytestmark = pytest.mark.slow

IMAGES = torch.randint(0, 256, (6, 3, 1, 1), generator=torch.Generator().manual_seed(0)).byte().expand(6, 3, 48, 48)


def autoencoder(images, folder, **settings):
    config = AutoencoderConfig(
        images=images, crop_px=32, checkpoint_images=80, learning_rate=3e-3, precision="fp32", **settings
    )
    log: list[dict[str, float]] = []
    model = train_autoencoder(tiny_vae(), TinyFeatures(), IMAGES, config, folder, log.append)
    return model, log


def test_the_autoencoder_learns_to_see(tmp_path):
    def error(model):
        pixels = IMAGES[:, :, :32, :32].float() / 127.5 - 1
        return (model.decode(model.encode(pixels).latents).sample - pixels).abs().mean().item()

    trained, log = autoencoder(1600, tmp_path)
    assert error(trained) < 0.5 * error(tiny_vae())
    assert log[-1]["images"] == 1600


def test_the_decoders_part_leaves_the_encoder(tmp_path):
    trained, _ = autoencoder(160, tmp_path, part="decoder", perceptual_weight=1.0)
    before = tiny_vae()
    assert all(
        torch.equal(a, b) for a, b in zip(trained.encoder.parameters(), before.encoder.parameters(), strict=True)
    )
    assert not torch.equal(trained.decoder.layers[0].weight, before.decoder.layers[0].weight)


def test_the_penalty_is_the_divergence_from_a_standard_normal():
    latents = torch.randn(64, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    assert latent_penalty(latents) < 1e-3
    other = torch.distributions.Normal(1.0, 2.0)
    expected = torch.distributions.kl_divergence(other, torch.distributions.Normal(0.0, 1.0))
    assert latent_penalty(latents * 2 + 1).item() == pytest.approx(expected.item(), rel=0.02)


def base(images, folder, stop=None):
    tokenizer = tiny_tokenizer()
    tokens = tokenizer(["a", "b"], padding="max_length", return_tensors="pt").input_ids
    text = read_captions(tiny_text_encoder(tokenizer), tokens)
    corpus = Corpus(torch.stack([torch.ones(4, 8, 8), -torch.ones(4, 8, 8)]), text, text[0])
    unet = tiny_unet()
    log: list[dict[str, float]] = []

    def report(metrics):
        log.append(metrics)
        if stop is not None and metrics["images"] >= stop:
            raise KeyboardInterrupt

    config = BaseConfig(
        images=images,
        batch_size=4,
        checkpoint_images=80,
        text_dropout=0.0,
        warmup_images=40,
        adam_learning_rate=1e-2,
        precision="fp32",
    )
    train_base(unet, load_schedule(architecture.SCHEDULER), corpus, config, folder, report)
    return unet, log


def test_the_base_learns_and_goes_on_where_it_was_stopped(tmp_path):
    whole, log = base(160, tmp_path / "whole")
    losses = [value for line in log for name, value in line.items() if name.startswith("loss/")]
    assert losses[-1] < 0.92 * losses[0]
    with pytest.raises(KeyboardInterrupt):
        base(160, tmp_path / "halves", stop=80)
    again, _ = base(160, tmp_path / "halves")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_drawing_goes_on_where_it_was_stopped(tmp_path):
    first = load_images(draw_images(tmp_path, 3, seed=5, processes=1))
    (tmp_path / "drawn").write_text("0")
    again = load_images(draw_images(tmp_path, 3, seed=5, processes=1))
    assert first.shape == (3, 3, 128, 128)
    assert torch.equal(first, again)


def test_captions_change_language():
    english, french = captions(2, seed=0)
    assert english != french


def test_the_text_encoder_learns_what_captions_say():
    tokenizer = tiny_tokenizer()
    read = scenes_to_read(8, 0, tokenizer)
    assert {"character", "place", "medium", "companions"} <= set(read.labels)
    encoder, log = tiny_text_encoder(tokenizer), []
    train_text_encoder(encoder, read, TextConfig(captions=960, batch_size=16, learning_rate=5e-3), log.append)
    assert log[-1]["right"] > log[0]["right"] + 0.3

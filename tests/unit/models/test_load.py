"""Bases are read whole or refused with a reason; what is written loads in plain diffusers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from naruto_add.errors import UserError
from naruto_add.models.load import Components, decode, encode_images, encode_text, load_components, save_components
from tests.tiny import LATENT_PX, MAX_TOKENS, SIZE_PX, TEXT_DIM, tiny_components, tiny_vae


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_components(tiny_components(), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def rewrite(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def weights(components: Components) -> dict[str, torch.Tensor]:
    modules = {"unet": components.unet, "vae": components.vae, "text": components.text_encoder}
    return {
        f"{part}.{name}": tensor for part, module in modules.items() for name, tensor in module.state_dict().items()
    }


def test_saved_and_loaded_are_equal(saved: Path) -> None:
    before, after = tiny_components(), load_components(saved)
    assert after.scheduler_config == before.scheduler_config
    assert not after.unet.training
    for name, tensor in weights(before).items():
        assert torch.equal(tensor, weights(after)[name]), name
    captions = ["Naruto meditating", "un ninja encapuchonné"]
    assert torch.equal(encode_text(before, captions)[0], encode_text(after, captions)[0])


def test_only_safetensors_and_text_are_written(saved: Path) -> None:
    assert {path.suffix for path in saved.rglob("*") if path.is_file()} == {".safetensors", ".json", ".txt"}


def test_files_as_transformers_4_names_them(saved: Path) -> None:
    """Checked by hand against transformers 4.57: equal tokens and bit-equal embeddings."""
    names = load_file(saved / "text_encoder" / "model.safetensors").keys()
    assert names and all(name.startswith("text_model.") for name in names)
    assert (saved / "tokenizer" / "merges.txt").read_text().startswith("#version")


def test_a_tokenizer_of_the_old_files_is_read(folder: Path) -> None:
    """Stable Diffusion 1.5 has vocab.json and merges.txt, no tokenizer.json."""
    before = load_components(folder).tokenizer("a ninja l'été").input_ids
    (folder / "tokenizer" / "tokenizer.json").unlink()
    assert load_components(folder).tokenizer("a ninja l'été").input_ids == before


def test_plain_diffusers_draws_from_what_is_saved(saved: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(saved)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline("a ninja", num_inference_steps=2, height=SIZE_PX, width=SIZE_PX, output_type="np").images
    assert images.shape == (1, SIZE_PX, SIZE_PX, 3)


def test_half_precision_is_written_only_when_asked_and_leaves_the_model_alone(tmp_path: Path) -> None:
    components = tiny_components()
    save_components(components, tmp_path, dtype=torch.float16)
    stored = load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert components.unet.dtype == torch.float32
    assert load_components(tmp_path).unet.dtype == torch.float32


def test_a_channels_last_model_is_saved_like_any_other(tmp_path: Path) -> None:
    components = tiny_components()
    components.vae.to(memory_format=torch.channels_last)
    save_components(components, tmp_path)
    found, wanted = load_components(tmp_path).vae.state_dict(), tiny_components().vae.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_all_problems_are_told_at_once(folder: Path) -> None:
    rewrite(folder / "unet/config.json", _class_name="UNet3DConditionModel", in_channels=9)
    rewrite(folder / "vae/config.json", _class_name="AutoencoderDC")
    with pytest.raises(UserError) as error:
        load_components(folder)
    for part in ("UNet3DConditionModel", "AutoencoderDC", "maps 9 channels"):
        assert part in str(error.value)


def test_missing_parts_are_named(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    (folder / "unet/config.json").write_text("not JSON")
    with pytest.raises(UserError) as error:
        load_components(folder)
    assert "vae/config.json" in str(error.value) and "unet/config.json" in str(error.value)


@pytest.mark.parametrize(
    ("made", "told"),
    [("transformer", "SD3"), ("model.safetensors", "single-file"), ("manifest.json", "artifact of naruto-add")],
)
def test_other_folders_are_recognised(tmp_path: Path, made: str, told: str) -> None:
    (tmp_path / made).mkdir() if made == "transformer" else (tmp_path / made).write_text("{}")
    with pytest.raises(UserError, match=told):
        load_components(tmp_path)


def test_a_second_text_encoder_is_refused(folder: Path) -> None:
    (folder / "text_encoder_2").mkdir()
    with pytest.raises(UserError, match="SDXL"):
        load_components(folder)


def test_a_unet_that_adds_the_pooled_text_itself_needs_no_second_encoder(tmp_path: Path) -> None:
    before = tiny_components(adds_text=True)
    save_components(before, tmp_path)
    after = load_components(tmp_path)
    names = {name for name, _ in after.unet.named_parameters() if name.startswith("add_embedding.")}
    assert names and all(torch.equal(before.unet.state_dict()[n], after.unet.state_dict()[n]) for n in names)


def test_a_unet_that_wants_a_second_text_is_refused(folder: Path) -> None:
    rewrite(folder / "unet/config.json", addition_embed_type="text_time")
    with pytest.raises(UserError, match="SDXL"):
        load_components(folder)


def test_text_of_another_width_is_refused(folder: Path) -> None:
    rewrite(folder / "unet/config.json", cross_attention_dim=768)
    with pytest.raises(UserError, match="text of width 768, the encoder gives 32"):
        load_components(folder)


def test_weights_that_are_missing_are_not_left_random(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["conv_in.weight"]
    save_file(state, path)
    with pytest.raises(UserError, match=r"conv_in\.weight"):
        load_components(folder)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_broken_weights_file_is_told(folder: Path, content: bytes) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="could not be read"):
        load_components(folder)


def test_a_pickle_is_never_read(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(UserError, match="could not be read"):
        load_components(folder)


@pytest.mark.parametrize("revision", [None, "main"])
def test_hub_ids_must_be_pinned(revision: str | None) -> None:
    with pytest.raises(UserError, match="40-digit commit"):
        load_components("owner/name", revision)


def test_a_wrong_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        load_components(tmp_path / "nothing" / "here")


def test_text_has_the_shapes_of_the_encoder() -> None:
    components = tiny_components()
    text, pooled = encode_text(components, ["", "a ninja", "x" * 1000])
    assert text.shape == (3, MAX_TOKENS, TEXT_DIM) and pooled.shape == (3, TEXT_DIM)
    ends = [components.tokenizer("").input_ids.index(components.tokenizer.eos_token_id), 1]
    torch.testing.assert_close(pooled[0], text[0, ends[0]])  # pooled is the end token's state
    assert not torch.allclose(pooled[0], pooled[1])


def test_latents_are_scaled_once_and_decode_back() -> None:
    vae = tiny_vae()
    pixels = torch.rand(2, 3, SIZE_PX, SIZE_PX) * 2 - 1
    latents = encode_images(vae, pixels)
    assert latents.shape == (2, 4, LATENT_PX, LATENT_PX)
    torch.testing.assert_close(latents, vae.encode(pixels).latents * 0.8)
    torch.testing.assert_close(decode(vae, latents), vae.decode(vae.encode(pixels).latents).sample)


def test_the_autoencoder_takes_pixels_from_minus_one_to_one() -> None:
    with pytest.raises(AssertionError, match=r"\[-1, 1\]"):
        encode_images(tiny_vae(), torch.full((1, 3, SIZE_PX, SIZE_PX), 255.0))


def test_a_kl_autoencoder_gives_the_mean() -> None:
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, scaling_factor=0.2).eval()
    pixels = torch.zeros(1, 3, 8, 8)
    first, second = encode_images(vae, pixels), encode_images(vae, pixels)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, vae.encode(pixels).latent_dist.mean * 0.2)


def test_decoding_lets_gradients_through() -> None:
    latents = torch.randn(1, 4, LATENT_PX, LATENT_PX, requires_grad=True)
    decode(tiny_vae().requires_grad_(False), latents).sum().backward()
    assert latents.grad is not None and latents.grad.abs().max() > 0

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from naruto_add.data import images, latents
from naruto_add.data.shards import Entry, Shards, write_index, write_split
from naruto_add.models.load import Components, encode_images, encode_text
from tests.tiny import LATENT_PX, MAX_TOKENS, SIZE_PX, TEXT_DIM, tiny_components, tiny_vae
from tests.unit.data.pictures import picture


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def make_shards(folder: Path, count: int) -> Shards:
    folder.mkdir()
    entries = (
        Entry(images.encode_png(picture(n, (SIZE_PX, SIZE_PX))), "png", {"caption": f"ninja {n}", "attributes": None})
        for n in range(count)
    )
    write_index(folder, SIZE_PX, {"train": write_split(folder, "train", entries, 4), "heldout": []})
    return Shards(folder)


def test_rows_are_what_the_encoders_say(tmp_path: Path, components: Components) -> None:
    shards = make_shards(tmp_path / "shards", 10)
    cache = latents.encode(shards, "train", components, tmp_path / "cache", 3, "cpu")
    ids = [9, 0, 4, 3]
    expected = encode_images(components.vae, shards.images("train", ids) / 127.5 - 1)
    text, pooled = encode_text(components, shards.captions("train", ids))
    assert cache.latents(ids).shape == (4, 4, LATENT_PX, LATENT_PX)
    torch.testing.assert_close(cache.latents(ids), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cache.text(ids), text, rtol=1e-3, atol=1e-3)  # stored in half precision
    torch.testing.assert_close(cache.pooled(ids), pooled, rtol=1e-4, atol=1e-5)
    assert cache.text(ids).dtype == cache.latents(ids).dtype == torch.float32
    assert components.vae.config.scaling_factor != 1


def test_the_empty_caption_is_there_for_guidance(tmp_path: Path, components: Components) -> None:
    cache = latents.encode(make_shards(tmp_path / "s", 4), "train", components, tmp_path / "c", 4, "cpu")
    text, pooled = encode_text(components, [""])
    assert cache.uncond_text.shape == (MAX_TOKENS, TEXT_DIM)
    torch.testing.assert_close(cache.uncond_text, text[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(cache.uncond_pooled, pooled[0])


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path, components: Components) -> None:
    shards = make_shards(tmp_path / "shards", 10)
    cache = latents.encode(shards, "train", components, tmp_path / "cache", 4, "cpu")
    kept, lost = cache.files[0], cache.files[1]
    whole = lost.read_bytes()
    lost.unlink()
    (lost.parent / f".{lost.name}.1.partial").write_bytes(whole[:100])
    before = kept.stat().st_mtime_ns
    latents.encode(shards, "train", components, tmp_path / "cache", 4, "cpu")
    assert lost.read_bytes() == whole
    assert kept.stat().st_mtime_ns == before


def test_other_images_or_encoders_never_share_a_file(tmp_path: Path, components: Components) -> None:
    few, many = make_shards(tmp_path / "few", 7), make_shards(tmp_path / "many", 8)
    first = latents.encode(few, "train", components, tmp_path / "cache", 4, "cpu")
    second = latents.encode(many, "train", components, tmp_path / "cache", 4, "cpu")
    assert first.files[0] == second.files[0]  # the same four images
    assert first.files[1] != second.files[1]
    other = Components(**{**vars(components), "vae": tiny_vae(seed=9)})
    third = latents.encode(few, "train", other, tmp_path / "cache", 4, "cpu")
    assert not set(third.files) & {*first.files, *second.files}
    assert not torch.allclose(third.latents([0]), first.latents([0]))


def test_the_digest_does_not_depend_on_where_a_model_lies(components: Components) -> None:
    again = tiny_components()
    again.text_encoder.config._name_or_path = "/somewhere/else"
    assert latents.digest(again) == latents.digest(components)
    again.vae.register_to_config(scaling_factor=0.5)
    assert latents.digest(again) != latents.digest(components)

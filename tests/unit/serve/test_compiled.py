"""Compiled networks are the artifact's own, compute a row alike in any company, and are kept between two starts."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from naruto_add.diffusion.samplers import dpm_solver
from naruto_add.models.load import Components, decode, latent_shape
from naruto_add.storage import mirror
from serve import compiled
from serve.compiled import OnProcessor, openvino, psnr
from serve.model import Ability, Model, OnDevice, Wish
from serve.rows import alike
from tests.tiny import MAX_TOKENS, SIZE_PX, TEXT_DIM, tiny_components, tiny_unet

DIGEST, TEXT_SHAPE = "of the tiny base", (MAX_TOKENS, TEXT_DIM)


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of their own for the tests of this file."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(mirror.CACHE, str(folder))
        yield folder / "openvino"


@pytest.fixture(scope="module")
def plain() -> Components:
    return tiny_components()


@pytest.fixture(scope="module")
def networks(cache_folder: Path, plain: Components) -> OnProcessor:
    torch.set_num_threads(1)
    return opened(plain, 8)


def opened(components: Components, most_rows: int = 1) -> OnProcessor:
    return OnProcessor(copy.deepcopy(components), DIGEST, None, TEXT_SHAPE, most_rows)


def rows(components: Components, count: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timesteps and texts."""
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(count, *latent_shape(components.unet), generator=generator)
    return x_t, torch.linspace(999, 0, count).long(), torch.randn(count, *TEXT_SHAPE, generator=generator)


@torch.inference_mode()
def test_they_compute_what_torch_computes(networks: OnProcessor, plain: Components) -> None:
    x_t, t, texts = rows(plain)
    expected = plain.unet(x_t, t, encoder_hidden_states=texts).sample
    assert torch.allclose(networks.predict(x_t, t, texts), expected, rtol=0, atol=1e-4)
    assert torch.allclose(networks.decode(x_t), decode(plain.vae, x_t), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_the_embedded_guidance_scale_is_built_in(plain: Components) -> None:
    """A student's UNet has an input for it; here with weights that are not zero, so that it counts."""
    components = copy.deepcopy(plain)
    components.unet = tiny_unet(condition_dim=16)
    condition = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    unet = copy.deepcopy(components.unet)
    networks = OnProcessor(components, "conditioned", condition, TEXT_SHAPE, 1)
    x_t, t, texts = rows(plain, 1)
    expected = unet(x_t, t, encoder_hidden_states=texts, timestep_cond=condition).sample
    other = unet(x_t, t, encoder_hidden_states=texts, timestep_cond=-condition).sample
    assert torch.allclose(networks.predict(x_t, t, texts), expected, rtol=0, atol=1e-4)
    assert not torch.allclose(expected, other, rtol=0, atol=1e-3)


def test_neither_batch_nor_position_changes_a_bit(networks: OnProcessor, plain: Components) -> None:
    """Of networks for several rows too, where there are such: see the next test."""
    x_t, t, texts = rows(plain, 9)
    alone = [networks.predict(x_t[k : k + 1], t[k : k + 1], texts[k : k + 1]) for k in range(9)]
    orders = [[0, 1, 2, 3, 4, 5, 6, 7], [8, 7, 6, 5, 4, 3, 2, 1, 0], [4, 2, 0], [3, 1], [1, 3, 3, 0], [5, 8, 8, 2, 6]]
    for order in orders:
        together = networks.predict(x_t[order], t[order], texts[order])
        assert all(torch.equal(together[place], alone[k][0]) for place, k in enumerate(order))


def test_the_unet_is_compiled_for_more_rows_where_that_keeps_its_bits(
    networks: OnProcessor, plain: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = openvino.Core()
    folder = compiled.place("Denoiser", [each[:1] for each in rows(plain)], DIGEST)
    model = core.read_model(folder / compiled.MODEL, folder / compiled.WEIGHTS)
    single, wider = (compiled.Compiled(core, model, size, "f32") for size in (1, 2))
    assert networks.unet.sizes[0] == 1 and set(networks.unet.sizes) <= {1, *compiled.SIZES}
    assert (2 in networks.unet.sizes) == alike(wider, single, rows(plain, 2))
    monkeypatch.setattr(compiled, "MOST_WEIGHTS", 0)
    assert opened(plain, 8).unet.sizes == [1], "large ones are not held several times"


def test_the_weights_of_torch_are_freed_and_the_configs_stay(plain: Components) -> None:
    components = copy.deepcopy(plain)
    OnProcessor(components, DIGEST, None, TEXT_SHAPE, 1)
    assert {p.device.type for part in (components.unet, components.vae) for p in part.parameters()} == {"meta"}
    assert latent_shape(components.unet) == latent_shape(plain.unet)


def test_a_second_opening_reads_what_the_first_one_kept(
    networks: OnProcessor, plain: Components, cache_folder: Path
) -> None:
    before = written(cache_folder)
    again = opened(plain)
    assert before and written(cache_folder) == before
    assert torch.equal(again.predict(*rows(plain)), networks.predict(*rows(plain)))


@pytest.mark.parametrize("name", [compiled.MODEL, compiled.WEIGHTS, compiled.SUMS])
def test_what_is_damaged_is_made_anew(networks: OnProcessor, plain: Components, cache_folder: Path, name: str) -> None:
    x_t = rows(plain)[0]
    folder = compiled.place("Decoder", [x_t[:1]], DIGEST)
    content = (folder / name).read_bytes()
    (folder / name).unlink()  # or it would change under those who have it open
    (folder / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    core = openvino.Core()
    assert compiled.read(core, folder) is None
    assert torch.equal(opened(plain).decode(x_t), networks.decode(x_t))
    assert compiled.read(core, folder) is not None
    assert json.loads((folder / compiled.SUMS).read_text()) == compiled.sums(folder)
    assert not [each for each in cache_folder.iterdir() if each.name.startswith(".")], "nothing is left aside"


def test_a_cache_that_takes_nothing_only_costs_time(
    networks: OnProcessor, plain: Components, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied = tmp_path / "a file"
    occupied.touch()
    monkeypatch.setenv(mirror.CACHE, str(occupied))
    x_t, core = rows(plain, 1)[0], openvino.Core()
    model = compiled.converted(core, compiled.Decoder(plain.vae), (x_t,), DIGEST)
    assert torch.equal(compiled.Compiled(core, model, 1, "f32")(x_t), networks.decode(x_t))


def test_other_weights_and_shapes_have_other_places(plain: Components) -> None:
    inputs = rows(plain, 1)[:1]
    places = [
        compiled.place("Decoder", inputs, DIGEST),
        compiled.place("Decoder", inputs, "another"),
        compiled.place("Denoiser", inputs, DIGEST),
        compiled.place("Decoder", [inputs[0][..., :4]], DIGEST),
    ]
    assert len(set(places)) == len(places)


def test_a_decoder_gets_less_precise_only_where_that_cannot_be_seen(
    plain: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    x_t = rows(plain, 1)[0]
    exact, strict, lenient = (opened(plain) for _ in range(3))
    reference = exact.decode(x_t)
    monkeypatch.setattr(compiled, "LEAST_PSNR_DB", 1000.0)
    strict.settle(x_t)
    assert torch.equal(strict.decode(x_t), reference)
    monkeypatch.setattr(compiled, "LEAST_PSNR_DB", 0.0)
    lenient.settle(x_t)
    changed = not torch.equal(lenient.decode(x_t), reference)
    assert changed == ("BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def test_decibels() -> None:
    a = torch.zeros(1, 3, 4, 4)
    assert psnr(a, a) == float("inf")
    assert psnr(a, a + 0.02) == pytest.approx(40, abs=1e-3)
    assert psnr(a + 1, a + 3) == float("inf"), "what lies outside is clamped"


def test_a_guided_picture_is_that_of_two_rows_in_torch(networks: OnProcessor, plain: Components) -> None:
    config, ability = plain.scheduler_config, Ability("teacher", DIGEST, SIZE_PX, 1, 50, 25, 3.0)
    model = Model(ability, copy.deepcopy(plain), lambda steps: dpm_solver(config, steps, torch.device("cpu")), 2)
    wish = Wish("a ninja", 3, 2, 3.0)
    alone, shared, expected = (model.start(wish) for _ in range(3))
    model.advance([alone])
    model.advance([model.start(Wish("another, without guidance", 4, 3, 1.0)), shared])
    model.networks = OnDevice(plain, None, 2)
    model.advance([expected])
    assert torch.equal(alone.x_t, shared.x_t)
    assert torch.allclose(alone.x_t, expected.x_t, rtol=0, atol=1e-4)


def test_nothing_is_reported_to_anybody() -> None:
    """OpenVINO's Python package tells Intel of every import and conversion unless its telemetry module is absent."""
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"


def written(folder: Path) -> dict[str, int]:
    """When each file below was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

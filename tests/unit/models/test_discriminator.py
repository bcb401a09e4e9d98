"""Heads: shapes for convolutional and token features, conditioning, independence of the batch, bounded weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from naruto_add.diffusion.losses import hinge_d, r1_penalty
from naruto_add.models.discriminator import Head, Heads, Panel, condition_of

EFFICIENTNET = ([24, 40, 112, 320], [32, 16, 8, 4])
DINO = ([384] * 4, [9, 9, 9, 9])


def maps(channels: list[int], sides: list[int], batch: int = 2, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, c, s, s, generator=generator) for c, s in zip(channels, sides, strict=True)]


@pytest.mark.parametrize(("channels", "sides"), [EFFICIENTNET, DINO])
@pytest.mark.parametrize("condition_size", [0, 12])
def test_one_logit_for_each_place_of_each_level(channels: list[int], sides: list[int], condition_size: int) -> None:
    heads = Heads(channels, condition_size)
    condition = torch.randn(2, condition_size) if condition_size else None
    logits = heads(maps(channels, sides), condition)
    assert [tuple(x.shape) for x in logits] == [(2, s * s) for s in sides]


def test_the_heads_are_light() -> None:
    assert sum(p.numel() for p in Heads(EFFICIENTNET[0], 560).parameters()) < 0.5e6
    assert sum(p.numel() for p in Heads(DINO[0], 1536).parameters()) < 1e6


def test_the_condition_matters_and_needs_to_be_there() -> None:
    heads, features = Heads([8, 16], 4).eval(), maps([8, 16], [4, 2])
    first, second = heads(features, torch.ones(2, 4)), heads(features, -torch.ones(2, 4))
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(first, second, strict=True))
    with pytest.raises(AssertionError):
        heads(features, None)


def test_an_images_logits_do_not_depend_on_its_batch() -> None:
    heads, features = Heads([8], 0).eval(), maps([8], [4], batch=3)
    together = heads(features)[0]
    alone = torch.cat([heads([features[0][i : i + 1]])[0] for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_convolutions_are_spectrally_normalised() -> None:
    head = Head(8, 0)
    with torch.no_grad():
        head.reduce.conv.parametrizations.weight.original.mul_(100)
        for _ in range(50):
            head(torch.randn(2, 8, 4, 4), None)
    norm = torch.linalg.matrix_norm(head.reduce.conv.weight.detach().flatten(1), ord=2)
    assert float(norm) == pytest.approx(1, abs=0.05)


def test_the_heads_learn_to_tell_two_kinds_apart_with_r1() -> None:
    torch.manual_seed(0)
    heads = Heads([8], 0)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=1e-2)
    for step in range(20):
        real = [(maps([8], [4], 8, seed=step)[0] + 0.5).requires_grad_()]
        fake = maps([8], [4], 8, seed=1000 + step)
        on_real, on_fake = heads(real), heads(fake)
        loss = hinge_d(on_real, on_fake) + 1e-5 * r1_penalty(on_real, real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert on_real[0].mean() - on_fake[0].mean() > 0.5


def test_condition_joins_caption_and_image_at_unit_scale() -> None:
    text, image = 30 * torch.randn(2, 8) + 5, 0.1 * torch.randn(2, 6) - 3
    condition = condition_of(text, image, torch.tensor([True, False]))
    assert condition is not None and condition.shape == (2, 14)
    assert condition[:, :8].square().mean() == pytest.approx(1, abs=0.01)
    assert condition[0, 8:].square().mean() == pytest.approx(1, abs=0.1)
    assert condition[1, 8:].abs().max() == 0  # pure noise: the student could not know the image


def test_condition_may_be_partial_or_absent() -> None:
    known = torch.tensor([True, True])
    assert condition_of(None, None, known) is None
    text = condition_of(torch.randn(2, 8), None, known)
    assert text is not None and text.shape == (2, 8)


def test_a_condition_may_tell_the_noise_level() -> None:
    known = torch.tensor([True, True])
    condition = condition_of(torch.randn(2, 8), None, known, 7 * torch.randn(2, 6))
    assert condition is not None and condition.shape == (2, 14)
    assert condition[:, 8:].square().mean() == pytest.approx(1, abs=0.1)


def test_a_panel_gives_every_eyes_logits_in_order_and_names_its_heads() -> None:
    panel = Panel([([8, 16], 4), ([8], 0)]).eval()
    first, second, condition = maps([8, 16], [4, 2]), maps([8], [3], seed=1), torch.randn(2, 4)
    logits = panel([first, second], [condition, None])
    assert [tuple(x.shape) for x in logits] == [(2, 16), (2, 4), (2, 9)]
    torch.testing.assert_close(logits[2], panel.get_submodule("eyes.1.heads.0")(second[0], None))
    assert panel.names() == ["eyes.0.heads.0", "eyes.0.heads.1", "eyes.1.heads.0"]
    assert all(isinstance(panel.get_submodule(name), Head) for name in panel.names())

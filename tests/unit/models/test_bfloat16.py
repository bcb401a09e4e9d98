import pytest
import torch

from naruto_add.models.bfloat16 import choose, is_suited, suit_cpu
from naruto_add.models.features import load_features
from naruto_add.models.student import inherit, tie
from tests.tiny import TEXT_DIM, tiny_unet

CPU = torch.device("cpu")


def gradients(unet, autocast):
    generator = torch.Generator().manual_seed(0)
    x, text = torch.randn(4, 4, 8, 8, generator=generator), torch.randn(4, 6, TEXT_DIM, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = unet(x, torch.tensor([1, 300, 600, 999]), text).sample
    output.float().square().mean().backward()
    return output, torch.cat([p.grad.flatten() for p in unet.parameters()])


def test_a_suited_unet_computes_the_same_in_float32():
    (plain, expected), (suited, found) = gradients(tiny_unet(), False), gradients(suit_cpu(tiny_unet()), False)
    assert torch.allclose(plain, suited, atol=1e-5)
    assert torch.allclose(expected, found, atol=1e-5)


def test_its_gradients_in_bfloat16_point_where_they_should():
    _, expected = gradients(tiny_unet(), False)
    _, found = gradients(suit_cpu(tiny_unet()), True)
    assert torch.cosine_similarity(expected, found, dim=0) > 0.99


def test_norms_give_float32_under_autocast():
    unet = suit_cpu(tiny_unet())
    with torch.autocast("cpu", torch.bfloat16):
        assert unet.conv_norm_out(torch.randn(1, 8, 4, 4).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("cut", [lambda teacher: inherit(teacher, "base")[0], lambda teacher: tie(teacher, "base")])
def test_a_student_computes_as_its_teacher(cut):
    assert is_suited(cut(suit_cpu(tiny_unet())))
    assert not is_suited(cut(tiny_unet()))


def test_auto_is_bf16_where_the_processor_has_matrix_units():
    assert choose("auto", CPU) == ("bf16" if torch.cpu._is_amx_tile_supported() else "fp32")
    assert choose("fp32", CPU) == "fp32"
    assert choose("bf16", CPU) == "bf16"


def test_the_feature_network_stays_in_float32_on_a_processor():
    features, pixels = load_features("efficientnet_lite0"), torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        maps = features(pixels)
    assert all(torch.equal(a, b) for a, b in zip(maps, features(pixels), strict=True))

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import nn

from naruto_add.diffusion.guidance import predict
from naruto_add.plan.passes import measure
from tests.tiny import tiny_unet


def test_a_layer_keeps_its_input_and_not_its_weights() -> None:
    with torch.device("meta"):
        layer, x = nn.Linear(30, 50), torch.empty(7, 30)
    found = measure(lambda: layer(x), layer)
    assert found.flops == 2 * 7 * 30 * 50
    assert found.saved_bytes == 4 * 7 * 30


def test_attention_keeps_no_scores() -> None:
    q, k = (torch.empty(1, 2, length, 16, device="meta", requires_grad=True) for length in (64, 32))
    found = measure(lambda: F.scaled_dot_product_attention(q, k, k))
    assert found.flops == 2 * 2 * 2 * 64 * 32 * 16
    assert found.saved_bytes == 4 * 2 * 16 * (64 + 32 + 64), "q, k (which is v) and the output"


def unet_on_meta() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(tiny_unet().config).train()


def test_checkpointing_keeps_less_and_counts_the_same_operations() -> None:
    x, t, text = (torch.empty(s, device="meta") for s in ((1, 4, 8, 8), (1,), (1, 48, 32)))
    plain, again = unet_on_meta(), unet_on_meta()
    kept = measure(lambda: predict(plain, x, t, text), plain)
    less = measure(lambda: predict(again, x, t, text), again, checkpointing=True)
    assert less.flops == kept.flops
    assert 0 < less.saved_bytes < 0.8 * kept.saved_bytes


def test_on_meta_as_much_is_kept_as_in_a_real_pass() -> None:
    unet, real = unet_on_meta(), tiny_unet().train()
    real.set_attn_processor(unet.attn_processors)
    x, t, text = torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, 48, 32)
    found = measure(lambda: predict(real, x, t, text), real)
    wanted = measure(lambda: predict(unet, x.to("meta"), t.to("meta"), text.to("meta")), unet)
    assert wanted.flops == found.flops
    assert wanted.saved_bytes == pytest.approx(found.saved_bytes, rel=0.05)

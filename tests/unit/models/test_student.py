"""The surgery: published sizes, which weights come from where, what the student still knows, the head start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from naruto_add.errors import UserError
from naruto_add.models.student import (
    SURGERIES,
    Size,
    add_head_start,
    empty_student,
    inherit,
    save_head_start,
    save_random_start,
    student_config,
    tie,
    unpacked,
)
from tests.tiny import LATENT_PX, MAX_TOKENS, TEXT_DIM, tiny_unet

SIZES: list[Size] = list(SURGERIES)
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8}
SD21 = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, 4, LATENT_PX, LATENT_PX, generator=generator)
    return x_t, torch.tensor([10, 900]), torch.randn(2, MAX_TOKENS, TEXT_DIM, generator=generator)


def output(unet: UNet2DConditionModel) -> Tensor:
    x_t, t, text = inputs()
    return unet(x_t, t, encoder_hidden_states=text).sample


def meta_unet(config: dict[str, object]) -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(**config)


@pytest.mark.parametrize(("size", "millions"), [("full", 859.5), ("base", 579.4), ("small", 482.3), ("tiny", 323.4)])
def test_stable_diffusion_1_5_has_the_published_sizes(size: Size, millions: float) -> None:
    """BK-SDM: 0.58 / 0.49 / 0.33 B; Segmind counts 859.5, 579.4 and 323.4 M."""
    student = empty_student(meta_unet(SD15), size)
    assert sum(p.numel() for p in student.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_lists_in_the_config_are_cut_too() -> None:
    config = student_config(meta_unet(SD21).config, "tiny")
    assert config["block_out_channels"] == [320, 640, 1280]
    assert config["attention_head_dim"] == [5, 10, 20]
    assert config["down_block_types"] == ["CrossAttnDownBlock2D"] * 3
    assert config["up_block_types"] == ["CrossAttnUpBlock2D"] * 3
    assert sum(p.numel() for p in empty_student(meta_unet(SD21), "tiny").parameters()) / 1e6 == pytest.approx(
        326.8, 0.1
    )


def test_weights_come_from_where_bk_sdm_takes_them() -> None:
    _, origin = inherit(meta_unet(SD15), "tiny")
    blocks = {name.rsplit(".", 3)[0]: teacher for name, teacher in origin.items()}
    assert origin["conv_in.weight"] == "conv_in.weight"
    assert origin["down_blocks.2.resnets.0.conv1.weight"] == "down_blocks.2.resnets.0.conv1.weight"
    assert origin["up_blocks.0.resnets.0.conv1.weight"] == "up_blocks.1.resnets.0.conv1.weight"
    assert origin["up_blocks.0.resnets.1.conv1.weight"] == "up_blocks.1.resnets.2.conv1.weight"
    assert origin["up_blocks.2.attentions.1.proj_in.weight"] == "up_blocks.3.attentions.2.proj_in.weight"
    assert origin["up_blocks.0.upsamplers.0.conv.weight"] == "up_blocks.1.upsamplers.0.conv.weight"
    assert not any(name.startswith(("mid_block", "down_blocks.2.downsamplers")) for name in blocks)
    _, origin = inherit(meta_unet(SD15), "base")
    assert origin["mid_block.resnets.0.conv1.weight"] == "mid_block.resnets.0.conv1.weight"
    assert origin["up_blocks.0.resnets.1.conv1.weight"] == "up_blocks.0.resnets.2.conv1.weight"


@pytest.mark.parametrize("size", SIZES)
def test_the_student_is_a_smaller_module_of_its_own(size: Size) -> None:
    teacher = tiny_unet()
    student, origin = inherit(teacher, size)
    assert student is not teacher
    counts = [sum(p.numel() for p in unet.parameters()) for unet in (student, teacher)]
    assert counts[0] < counts[1] or size == "full"
    assert not {p.data_ptr() for p in student.parameters()} & {p.data_ptr() for p in teacher.parameters()}
    assert origin.keys() == student.state_dict().keys()
    weights = teacher.state_dict()
    for name, tensor in student.state_dict().items():
        if tensor.shape == weights[origin[name]].shape:
            assert torch.equal(tensor, weights[origin[name]]), name


def test_full_size_is_the_teacher_again() -> None:
    teacher = tiny_unet()
    assert torch.equal(output(inherit(teacher, "full")[0]), output(teacher))


@pytest.mark.parametrize("size", ["base", "small", "tiny"])
def test_the_student_still_knows_much_of_what_the_teacher_says(size: Size) -> None:
    teacher = tiny_unet()
    taught = output(inherit(teacher, size)[0]).flatten()
    other = output(inherit(tiny_unet(seed=1), size)[0]).flatten()
    agreement = [torch.corrcoef(torch.stack([out, output(teacher).flatten()]))[0, 1] for out in (taught, other)]
    assert agreement[0] > 0.5 and agreement[1].abs() < 0.2


def test_where_the_dropped_stage_was_wider_the_skip_channels_stay() -> None:
    teacher = tiny_unet()  # widths 8, 16, 24: the first up layer kept takes 24 + 16 channels, the student's 16 + 16
    student, _ = inherit(teacher, "tiny")
    before = teacher.get_parameter("up_blocks.1.resnets.0.conv1.weight")
    after = student.get_parameter("up_blocks.0.resnets.0.conv1.weight")
    assert torch.equal(after[:, :16], before[:, :16]) and torch.equal(after[:, 16:], before[:, 24:])


@pytest.mark.parametrize("size", SIZES)
def test_a_tied_student_is_the_teachers_very_parameters(size: Size) -> None:
    teacher = tiny_unet(widths=(8, 16, 16))
    compact, (student, _) = tie(teacher, size), inherit(teacher, size)
    assert {id(p) for p in compact.parameters()} <= {id(p) for p in teacher.parameters()}
    assert torch.equal(output(compact), output(student))
    before = output(teacher)
    output(compact).sum().backward()
    with torch.no_grad():
        for parameter in compact.parameters():
            parameter -= 0.01 * parameter.grad
    assert not torch.allclose(output(teacher), before)


@pytest.mark.parametrize("size", SIZES)
def test_a_teacher_that_adds_the_pooled_text_is_cut_like_any_other(size: Size) -> None:
    teacher = tiny_unet(widths=(8, 16, 16), adds_text=True)
    student, origin = inherit(teacher, size)
    weights = teacher.state_dict()
    added = [name for name in weights if name.startswith("add_embedding.")]
    assert added and all(origin[n] == n and torch.equal(student.state_dict()[n], weights[n]) for n in added)
    compact = tie(teacher, size)
    assert all(compact.get_parameter(name) is teacher.get_parameter(name) for name in added)
    assert torch.equal(output(compact), output(student))
    before = output(student)
    with torch.no_grad():
        student.get_parameter("add_embedding.norm2.bias").add_(1)
    assert not torch.allclose(output(student), before), "the student adds the text too"


def test_tying_cannot_cut_weights() -> None:
    with pytest.raises(UserError, match="equally wide"):
        tie(tiny_unet(), "tiny")


def test_other_anatomies_are_refused() -> None:
    with pytest.raises(UserError, match="3 layers per block"):
        student_config({**tiny_unet().config, "layers_per_block": 3}, "base")
    with pytest.raises(UserError, match="only 2 stages"):
        student_config({**tiny_unet().config, "block_out_channels": [8, 16]}, "tiny")


def test_a_head_start_moves_to_another_fine_tune(tmp_path: Path) -> None:
    base, tuned = tiny_unet(), tiny_unet()
    before, _ = inherit(base, "base")
    distilled, _ = inherit(base, "base")
    with torch.no_grad():
        for parameter in distilled.parameters():
            parameter += 0.25
        for parameter in tuned.parameters():
            parameter *= 2
    save_head_start(distilled, before, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
    student, origin = inherit(tuned, "base")
    add_head_start(student, tmp_path)
    weights = tuned.state_dict()
    for name, tensor in student.state_dict().items():
        torch.testing.assert_close(tensor, weights[origin[name]] + 0.25, rtol=1e-3, atol=1e-3)


def test_a_head_start_takes_a_byte_a_weight_and_loses_little(tmp_path: Path) -> None:
    base, distilled = inherit(tiny_unet(), "base")[0], inherit(tiny_unet(seed=1), "base")[0]
    save_head_start(distilled, base, tmp_path)
    weights = sum(parameter.numel() for parameter in base.parameters())
    assert (tmp_path / "unet.safetensors").stat().st_size < 1.6 * weights  # of tiny layers, names and scales weigh
    change = {name: tensor - base.state_dict()[name] for name, tensor in distilled.state_dict().items()}
    found = unpacked(load_file(tmp_path / "unet.safetensors"))
    assert found.keys() == change.keys()
    lost = sum(float((found[name] - tensor).square().sum()) for name, tensor in change.items())
    assert lost < 0.01**2 * sum(float(tensor.square().sum()) for tensor in change.values())


def test_a_head_start_of_earlier_versions_is_read(tmp_path: Path) -> None:
    student, _ = inherit(tiny_unet(), "base")
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    save_file(
        {name: torch.full_like(t, 0.5, dtype=torch.float16) for name, t in before.items()},
        tmp_path / "unet.safetensors",
    )
    add_head_start(student, tmp_path)
    for name, tensor in student.state_dict().items():
        torch.testing.assert_close(tensor, before[name] + 0.5)


def test_a_random_start_leaves_nothing_of_the_teacher(tmp_path: Path) -> None:
    """Two teachers, one seed: their students start alike; another seed starts elsewhere."""
    started = []
    for number, (teacher_seed, seed) in enumerate([(0, 5), (1, 5), (1, 6)]):
        teacher, folder = tiny_unet(seed=teacher_seed), tmp_path / str(number)
        save_random_start(teacher, "base", seed, folder)
        student, _ = inherit(teacher, "base")
        add_head_start(student, folder)
        started.append(student.conv_in.weight.detach())
    torch.testing.assert_close(started[0], started[1], atol=1e-2, rtol=0)  # a byte a number
    assert (started[1] - started[2]).abs().mean() > 0.05


def test_a_head_start_of_another_size_is_refused(tmp_path: Path) -> None:
    base, small = inherit(tiny_unet(), "base")[0], inherit(tiny_unet(), "small")[0]
    save_head_start(base, base, tmp_path)
    before = [parameter.clone() for parameter in small.parameters()]
    with pytest.raises(UserError, match=r"another student.*mid_block"):
        add_head_start(small, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(before, small.parameters(), strict=True))


@pytest.mark.parametrize("content", [None, b"garbage" * 9])
def test_a_missing_or_broken_head_start_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "unet.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="not there or not readable"):
        add_head_start(inherit(tiny_unet(), "base")[0], tmp_path)

import torch
from torch import nn

from naruto_add.pretrain.muon import Muon, as_matrix, as_weight, muon_and_adam, orthogonalised


def test_a_convolution_becomes_a_matrix_and_comes_back():
    weight = torch.randn(5, 3, 2, 4)
    assert as_matrix(weight).shape == (5, 24)
    assert torch.equal(as_weight(as_matrix(weight), weight), weight)


def test_singular_values_come_near_one():
    for shape in ((2, 16, 48), (2, 48, 16)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)).float())
        assert (values - 1).abs().max() < 0.45, values


def test_the_update_is_that_of_torch_for_one_matrix():
    ours, theirs = nn.Parameter(torch.randn(24, 16)), nn.Parameter(torch.empty(24, 16))
    theirs.data.copy_(ours.data)
    optimizers = [
        Muon([ours], lr=torch.tensor(0.01)),
        torch.optim.Muon([theirs], lr=0.01, momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    ]
    for seed in range(3):
        gradient = torch.randn(24, 16, generator=torch.Generator().manual_seed(seed))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=2e-3)  # bfloat16 inside of both
    assert (ours - theirs).abs().mean() < 0.02 * 0.03


def test_channels_last_weights_are_updated_where_they_lie():
    conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    flat = nn.Parameter(as_matrix(conv.weight.detach()).clone())
    conv.weight.grad = torch.randn_like(conv.weight)
    flat.grad = as_matrix(conv.weight.grad).clone()
    for weight in (conv.weight, flat):
        Muon([weight], lr=torch.tensor(0.1)).step()
    assert torch.allclose(as_matrix(conv.weight), flat, atol=1e-6)


def test_every_parameter_has_one_optimizer():
    model = nn.ModuleDict({
        "token_embedding": nn.Embedding(4, 8), "conv_in": nn.Conv2d(3, 8, 3), "inner": nn.Linear(8, 8),
        "norm": nn.LayerNorm(8),
    })  # fmt: skip
    muon, adam = muon_and_adam(model)
    assert [p.shape for p in muon.param_groups[0]["params"]] == [(8, 8)]
    assert len(adam.param_groups[0]["params"]) == len(list(model.parameters())) - 1

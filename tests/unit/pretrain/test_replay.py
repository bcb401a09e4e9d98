import pytest
import torch
from torch import nn

from naruto_add.pretrain.muon import muon_and_adam
from naruto_add.pretrain.replay import recorded, set_rates

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")


def trained(device, record, updates=5):
    """Weights after some updates on noise, and the last loss."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)).to(device)
    generator, optimizers = torch.Generator(device), muon_and_adam(model)

    def update():
        model.zero_grad(set_to_none=True)
        loss = (model(torch.randn(4, 8, generator=generator, device=device)) - 1).square().mean()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return {"loss": loss.detach()}

    step = recorded(update, model, optimizers, generator) if record else update
    for number in range(updates):
        generator.manual_seed(number)
        set_rates(optimizers, [0.01 * (number + 1)] * 2)
        metrics = step()
    return [p.detach().cpu() for p in model.parameters()], metrics["loss"].item()


def test_on_a_processor_nothing_is_recorded():
    weights, loss = trained("cpu", record=True)
    again, same = trained("cpu", record=False)
    assert loss == same
    assert all(torch.equal(a, b) for a, b in zip(weights, again, strict=True))


@needs_gpu
def test_a_replayed_graph_learns_what_the_plain_update_does():
    weights, loss = trained("cuda", record=True)
    again, same = trained("cuda", record=False)
    assert loss == pytest.approx(same, rel=1e-4)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(weights, again, strict=True))

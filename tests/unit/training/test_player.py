import copy

import pytest
import torch
from torch import nn

from naruto_add.training.engine import NonFinite, TorchEngine
from naruto_add.training.player import Player, frozen
from naruto_add.training.state import TrainState
from tests.unit.training.toys import Copycat, batch_at, everything, network, optim_of


def plain(seed: int = 0) -> nn.Sequential:
    """A network without batch statistics, so that micro-batches do not see each other."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 7), nn.GELU(), nn.Linear(7, 3))


def test_the_engine_is_adamw_with_clipping() -> None:
    optim = optim_of(max_grad_norm=0.1, weight_decay=0.1)
    player, reference = Player("p", plain(), optim), plain()
    adamw = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.1, betas=(0.9, 0.999))
    for k in range(3):
        x = batch_at([k, k + 1]).pooled
        player.backward(player.module(x).square().mean())
        norm = player.step(1e-2)
        adamw.zero_grad()
        reference(x).square().mean().backward()
        assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(reference.parameters(), 0.1)))
        adamw.step()
    for mine, theirs in zip(player.module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_accumulation_changes_memory_not_the_result() -> None:
    whole = Copycat(optim_of(), module=plain())
    parts = Copycat(optim_of(accumulation=2), module=plain())
    for method in (whole, parts):
        for k in range(3):
            method.step(batch_at([4 * k + i for i in range(4)]), TrainState(0, 4, 4 * k))
    for name, tensor in everything(whole).items():
        assert torch.allclose(everything(parts)[name], tensor, atol=1e-6), name


def test_the_average_follows_with_its_half_life_and_takes_buffers_as_they_are() -> None:
    method = Copycat(optim_of(ema_images=4))  # one step: half
    before = method.player.ema[0].weight.clone()
    method.step(batch_at([0, 1, 2, 3]), TrainState(0, 4))
    assert torch.allclose(method.player.ema[0].weight, (before + method.player.module[0].weight) / 2)
    assert torch.equal(method.player.ema[1].running_mean, method.player.module[1].running_mean)
    assert method.player.ema[1].running_mean.abs().sum() > 0


def test_no_average_means_the_weights_themselves() -> None:
    method = Copycat(optim_of(ema_images=0))
    method.step(batch_at([0, 1, 2, 3]), TrainState(0, 4))
    assert torch.equal(method.player.ema[0].weight, method.player.module[0].weight)


def test_a_frozen_player_passes_gradients_on_and_keeps_none() -> None:
    student, judge = Player("student", plain(0), optim_of()), Player("judge", plain(1), optim_of())
    with frozen(judge):
        student.backward(judge.module(student.module(torch.ones(2, 3))).sum())
    assert all(p.grad is None for p in judge.module.parameters())
    assert all(p.grad.abs().sum() > 0 for p in student.module.parameters())
    judge.backward(judge.module(torch.ones(2, 3)).sum())
    assert all(p.grad is not None for p in judge.module.parameters())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_loss_stops_before_the_update(bad: float) -> None:
    method = Copycat(optim_of())
    method.step(batch_at([0, 1, 2, 3]), TrainState(0, 4))
    before = everything(method)
    method.player.backward(method.player.module(torch.ones(2, 3)).sum() * bad)
    with pytest.raises(NonFinite) as caught:
        method.player.step(1e-2)
    assert caught.value.here
    after = everything(method)
    assert all(torch.equal(after[n], before[n]) for n in before if "running" not in n and "tracked" not in n)


def test_a_bad_gradient_under_a_good_loss_stops_too() -> None:
    method = Copycat(optim_of())
    zero = method.player.module(torch.ones(2, 3)).mul(0).sum()  # sqrt has an infinite slope at 0
    method.player.backward(zero.sqrt())
    with pytest.raises(NonFinite):
        method.player.step(1e-2)


def test_an_overflowing_norm_of_good_gradients_stops_too() -> None:
    method = Copycat(optim_of())
    before = method.player.module[3].bias.clone()
    method.player.backward(method.player.module[3].bias.sum() * 3e38)
    with pytest.raises(NonFinite):
        method.player.step(1e-2)
    assert torch.equal(method.player.module[3].bias, before)


def test_weights_that_do_not_learn_are_shared_with_the_average_and_left_out_of_checkpoints() -> None:
    module = plain()
    module[0].requires_grad_(False)
    player = Player("p", module, optim_of())
    assert player.ema[0].weight is module[0].weight
    assert player.ema[2].weight is not module[2].weight
    assert {name.split("/")[-1] for name, _ in player.tensors()} == {"2.weight", "2.bias"}


def test_an_unused_path_keeps_weights_and_moments() -> None:
    """Fine-tuning through the compact path leaves the other blocks alone: no decay, no momentum."""
    module = nn.ModuleDict({"used": nn.Linear(3, 3), "unused": nn.Linear(3, 3)})
    player = Player("p", module, optim_of(weight_decay=0.5))
    unused = copy.deepcopy(module["unused"].weight)
    player.backward(module["used"](torch.ones(1, 3)).sum())
    player.step(1e-2)
    assert torch.equal(module["unused"].weight, unused)
    assert not player.engine.moments(module["unused"].weight)


def test_engines_are_chosen_by_a_factory() -> None:
    assert isinstance(Player("p", network(), optim_of()).engine, TorchEngine)


def test_what_is_renewed_forgets_and_the_rest_remembers() -> None:
    method = Copycat(optim_of(ema_images=0))
    method.step(batch_at([0, 1, 2, 3]), TrainState(0, 4))
    before, fresh = everything(method), network(seed=9).state_dict()
    renewed = {"3.weight": fresh["3.weight"], "1.running_mean": fresh["1.running_mean"]}
    method.player.renew(renewed)
    after = everything(method)
    assert all(torch.equal(after[f"copycat/weights/{name}"], tensor) for name, tensor in renewed.items())
    forgotten = {name for name in before if name not in after}
    assert forgotten == {f"copycat/optimizer/3.weight/{key}" for key in ("step", "exp_avg", "exp_avg_sq")}
    others = [n for n in after if "/weights/" not in n or n.removeprefix("copycat/weights/") not in renewed]
    assert all(torch.equal(after[name], before[name]) for name in others)
    method.step(batch_at([4, 5, 6, 7]), TrainState(0, 4, 4))
    steps = {name: int(t) for name, t in everything(method).items() if name.endswith("/step")}
    assert steps["copycat/optimizer/3.weight/step"] == 1 and steps["copycat/optimizer/0.weight/step"] == 2

"""ZeRO stages 0 to 3 in one process, against the plain engine."""

import os
from functools import partial
from pathlib import Path

import pytest
import torch

from naruto_add.training import checkpoint
from naruto_add.training.engine import NonFinite, choose_engine
from naruto_add.training.player import Player, frozen
from naruto_add.training.state import TrainState
from naruto_add.training.world import World
from tests.unit.training.toys import Copycat, assert_equal, batch_at, everything, network, optim_of

STAGES = [0, 1, 2, 3]
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def play(method: Copycat, start: int, stop: int) -> Copycat:
    for k in range(start, stop):
        method.step(batch_at([4 * k + i for i in range(4)]), TrainState(0, 4, 4 * k))
    return method


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_every_stage_learns_what_plain_torch_learns(stage: int, accumulation: int) -> None:
    optim = optim_of(accumulation=accumulation)
    wanted = everything(play(Copycat(optim), 0, 4))
    found = everything(play(Copycat(optim, choose_engine(stage)), 0, 4))
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("step", [0, 1, 3])
def test_resuming_is_exact(stage: int, step: int, tmp_path: Path) -> None:
    build = partial(Copycat, optim_of(), choose_engine(stage))
    wanted = everything(play(build(), 0, 4))
    checkpoint.save(tmp_path, TrainState(0, 4, 4 * step), play(build(), 0, step).players.values(), World())
    resumed = build(network(seed=3))
    assert checkpoint.load(tmp_path, resumed.players.values(), World()) is not None
    assert_equal(everything(play(resumed, step, 4)), wanted)


@pytest.mark.parametrize(("before", "after"), [(None, 2), (2, None), (3, 1), (1, 3), (2, 0)])
def test_resuming_at_another_stage_goes_on_from_the_same_place(
    before: int | None, after: int | None, tmp_path: Path
) -> None:
    method = play(Copycat(optim_of(), choose_engine(before)), 0, 2)
    checkpoint.save(tmp_path, TrainState(0, 4, 8), method.players.values(), World())
    resumed = Copycat(optim_of(), choose_engine(after), network(seed=3))
    checkpoint.load(tmp_path, resumed.players.values(), World())
    assert_equal(everything(resumed), everything(method))
    wanted = everything(play(method, 2, 4))
    for name, tensor in everything(play(resumed, 2, 4)).items():
        assert torch.allclose(tensor, wanted[name], atol=1e-6), name


@pytest.mark.parametrize("stage", STAGES)
def test_bad_numbers_stop_before_the_update(stage: int) -> None:
    method = play(Copycat(optim_of(), choose_engine(stage)), 0, 1)
    weights = {n: t for n, t in everything(method).items() if n.endswith("weight")}
    method.player.backward(method.player.module(torch.ones(2, 3)).sum() * float("nan"))
    with pytest.raises(NonFinite):
        method.player.step(1e-2)
    after = everything(method)
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("stage", STAGES)
def test_a_frozen_torch_judge_gets_no_gradients_from_a_zero_student(stage: int) -> None:
    optim = optim_of()
    student, judge = Player("student", network(0), optim, choose_engine(stage)), Player("judge", network(1), optim)
    for _ in range(2):
        fake = student.module(batch_at([0, 1]).pooled)
        with frozen(judge):
            student.backward(judge.module(fake).mean())
        assert all(p.grad is None for p in judge.module.parameters())
        assert student.step(1e-2) > 0
        x = batch_at([2, 3]).pooled.requires_grad_()
        score = judge.module(x).mean() - judge.module(fake.detach()).mean()
        r1 = torch.autograd.grad(score, x, create_graph=True)[0].square().sum()  # a second backward, as R1 needs
        judge.backward(score + r1)
        assert judge.step(1e-2) > 0


def test_no_extension_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from deepspeed.ops.op_builder.builder import OpBuilder

    def refuse(self: OpBuilder, verbose: bool = True) -> None:
        raise AssertionError(f"{self.name} would be compiled")

    monkeypatch.setattr(OpBuilder, "jit_load", refuse)
    play(Copycat(optim_of(), choose_engine(2)), 0, 1)


@pytest.mark.parametrize("stage", STAGES)
def test_an_engine_reserves_no_more_memory_than_its_player_needs(stage: int) -> None:
    def mapped() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")

    play(Copycat(optim_of(), choose_engine(stage)), 0, 1)  # threads and libraries of the first engine
    before = mapped()
    play(Copycat(optim_of(), choose_engine(stage)), 0, 2)
    assert mapped() - before < 2**28

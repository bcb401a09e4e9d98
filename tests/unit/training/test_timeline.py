"""Sleeping takes as long as asked or longer, so parts are held to their least, and all together to the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from naruto_add.training.player import Player
from naruto_add.training.state import TrainState
from naruto_add.training.telemetry import Reporter
from naruto_add.training.timeline import BETWEEN, DATA, OPTIMIZER, REST, Timeline
from tests.unit.training.toys import optim_of


class Nap(torch.autograd.Function):
    """Sleeps on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seconds: float) -> Tensor:
        ctx.seconds = seconds
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        time.sleep(ctx.seconds)
        return grads[0], None


class Slow(nn.Module):
    """Takes its time both ways."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return Nap.apply(x * self.weight, self.seconds)


def test_what_is_inside_another_part_counts_for_itself() -> None:
    began, timeline = time.perf_counter(), Timeline()
    with timeline.at("outer"):
        time.sleep(0.02)
        with timeline.at("inner"):
            time.sleep(0.04)
        time.sleep(0.02)
    table, elapsed = timeline.table(), time.perf_counter() - began
    assert table["inner"] >= 0.04 and 0.04 <= table["outer"] <= elapsed - table["inner"]
    assert sum(table.values()) == pytest.approx(elapsed, abs=0.005)
    assert list(table)[-1] == REST


def test_a_networks_passes_both_ways_are_its_own_and_the_parts_add_up_to_the_time() -> None:
    began, timeline = time.perf_counter(), Timeline()
    first, second = Slow(0.02), Slow(0.04)
    for name, module in (("first", first), ("second", second)):
        timeline.watch(name, module)
    second(first(torch.ones(3))).sum().backward()
    table, elapsed = timeline.table(), time.perf_counter() - began
    assert table["first"] >= 0.04 and table["second"] >= 0.08
    assert sum(table.values()) == pytest.approx(elapsed, abs=0.005)


def test_updates_are_told_apart_and_frozen_networks_too() -> None:
    timeline, player = Timeline(), Player("p", Slow(0.0), optim_of())
    player.timed_by(timeline)
    judge = Slow(0.02).requires_grad_(False)
    timeline.watch("judge", judge)
    player.backward(judge(player.module(torch.ones(3))).sum())
    assert OPTIMIZER not in timeline.table()
    player.step(1e-2)
    table = timeline.table()
    assert table["judge"] >= 0.04, "the gradient passes through it"
    assert table[OPTIMIZER] > 0


def test_a_reporter_tells_waiting_from_working_and_from_what_lies_between() -> None:
    def rows() -> Iterator[int]:
        for number in range(2):
            time.sleep(0.02)
            yield number

    timeline = Timeline()
    reporter = Reporter(timeline=timeline)
    with reporter.started(0, 8):
        for _ in reporter.waited(rows()):
            time.sleep(0.04)
            reporter.log(TrainState(0, 4, 4), {})
            time.sleep(0.01)
    table = timeline.table()
    assert table[DATA] >= 0.04 and table[REST] >= 0.08 and table[BETWEEN] >= 0.02

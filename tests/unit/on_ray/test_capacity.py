"""What fits beside what, which is told before Ray starts."""

from __future__ import annotations

import pytest

from naruto_add.config import ComputeConfig
from naruto_add.on_ray import capacity
from naruto_add.on_ray.capacity import Node, check_sweep, shortage, starvation, trials_at_once

TWO = ComputeConfig(workers=2, cpus_per_worker=0.5)
INLINE = ComputeConfig(launcher="inline", workers=1, cpus_per_worker=0.5)
ON_GPUS = ComputeConfig(workers=2, cpus_per_worker=4, gpus_per_worker=1)


@pytest.mark.parametrize(
    ("compute", "cluster", "expected"),
    [
        (TWO, {"CPU": 2}, 1),  # 0.1 + 2 x (0.5 + 0.25)
        (TWO, {"CPU": 3.2}, 2),
        (TWO, {"CPU": 1.5}, 0),
        (INLINE, {"CPU": 2}, 2),  # a thread each
        (ON_GPUS, {"CPU": 64, "GPU": 8}, 4),
        (ON_GPUS, {"CPU": 20, "GPU": 8}, 2),
        (ON_GPUS, {"CPU": 64}, 0),
    ],
)
def test_trials_share_a_cluster_with_their_workers_and_ray_data(
    compute: ComputeConfig, cluster: dict[str, float], expected: int
) -> None:
    assert trials_at_once(cluster, compute) == expected
    assert check_sweep(compute, expected or None, cluster) == [] if expected else check_sweep(compute, None, cluster)


def test_more_trials_at_once_than_fit_are_refused_with_what_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (problem,) = check_sweep(TWO, 2, {"CPU": 2})
    assert "2 trials at once of 1.6 CPUs" in problem and "--parallel to 1 or fewer" in problem
    (problem,) = check_sweep(ComputeConfig(workers=512, cpus_per_worker=1), None)
    assert "Lower compute.workers" in problem


def test_a_cluster_elsewhere_is_asked_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_sweep(ComputeConfig(workers=512, address="auto"), 64) == []
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # in a job
    assert check_sweep(ComputeConfig(workers=512), 64) == []


@pytest.mark.parametrize(("cpus", "workers", "each"), [(2, 2, 0.5), (2, 1, 1), (4, 2, 1), (64, 8, 4)])
def test_a_machine_with_cpus_to_spare_is_fine(cpus: float, workers: int, each: float) -> None:
    assert starvation([{"CPU": cpus}], workers, each) == []


@pytest.mark.parametrize(
    ("cpus", "workers", "each", "advice"),
    [(2, 2, 1, "cpus_per_worker to 0.75"), (1, 1, 1, "cpus_per_worker to 0.75"), (1, 8, 1, "workers to fewer")],
)
def test_a_machine_that_would_starve_ray_data_is_told(cpus: float, workers: int, each: float, advice: str) -> None:
    (problem,) = starvation([{"CPU": cpus}], workers, each)
    assert advice in problem and "wait for ever" in problem


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus", "gpus"),
    [
        ([{"CPU": 0}, {"CPU": 1}, {"CPU": 1}], 2, 0.5, 0),
        ([{"CPU": 0}, {"CPU": 48, "GPU": 4}], 4, 4, 1),
        ([{"CPU": 16}, *[{"CPU": 4, "GPU": 1}] * 4], 4, 4, 1),  # the readers find a place on the machine without GPUs
        ([{"CPU": 3, "GPU": 1}], 2, 1, 0.5),
        ([{"CPU": 1}], 3, 0.05, 0),  # floating point: 3 x 0.05 and 3 x 0.25 of 1
    ],
)
def test_workers_that_fit_machine_by_machine_are_fine(
    nodes: list[Node], workers: int, cpus: float, gpus: float
) -> None:
    compute = ComputeConfig(workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus)
    assert shortage(nodes, compute) == []


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus", "gpus", "told"),
    [
        ([{"CPU": 2}, {"CPU": 2}], 1, 3, 0, "cpus_per_worker to 2"),  # 4 CPUs in all, but no machine has 3
        ([{"CPU": 1}, {"CPU": 1}], 2, 0.9, 0, "cpus_per_worker to 0.75"),  # 0.1 + 0.1 is no place for a reader
        ([{"CPU": 16}, {"CPU": 4, "GPU": 1}], 2, 4, 1, "only 1 of them fit"),
        ([{"CPU": 16}, {"CPU": 2, "GPU": 4}], 4, 4, 1, "only 0 of them fit"),
        ([{"CPU": 16}], 1, 1, 1, "0 GPUs in all"),
        ([{"CPU": 0}], 1, 0.5, 0, "workers to fewer"),
        ([], 1, 0.5, 0, "add machines"),
    ],
)
def test_workers_that_do_not_fit_are_refused(
    nodes: list[Node], workers: int, cpus: float, gpus: float, told: str
) -> None:
    compute = ComputeConfig(workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus)
    (problem,) = shortage(nodes, compute)
    assert told in problem


def test_what_is_advised_fits() -> None:
    nodes: list[Node] = [{"CPU": 2}, {"CPU": 6}, {"CPU": 7}]
    (problem,) = starvation(nodes, 3, 7.0)
    advised = float(problem.partition("cpus_per_worker to ")[2].partition(",")[0])
    assert starvation(nodes, 3, advised) == [] and starvation(nodes, 3, advised + 0.05)


def test_a_cluster_is_not_judged_by_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = ComputeConfig(cpus_per_worker=1000)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert capacity.check(greedy)
    assert capacity.check(ComputeConfig(cpus_per_worker=1000, address="auto")) == []
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # in a job
    assert capacity.check(greedy) == []


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (TWO, False),  # this process has the machine's processors already
        (ON_GPUS, True),
        (ComputeConfig(workers=2, cpus_per_worker=0.5, address="10.0.0.1:6379"), True),
        (ComputeConfig(launcher="inline", workers=1, gpus_per_worker=1), False),
    ],
)
def test_workers_draw_for_an_evaluation_where_they_have_what_this_process_lacks(
    compute: ComputeConfig, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert capacity.examined_by_workers(compute) == expected
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # in a cluster's job
    assert capacity.examined_by_workers(compute) == (compute.launcher == "ray")

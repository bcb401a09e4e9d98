"""Ray Train for real: two workers on this machine.

A fit takes some 15 s, so there is one, in which everything goes wrong that can. One in which nothing does, fed by Ray
Data, is test_pipeline_smoke.py's.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from naruto_add.config import ComputeConfig
from naruto_add.on_ray import capacity, cluster
from naruto_add.on_ray.train import run
from naruto_add.training.guards import TrainingStopped
from tests.integration.ray_workers import learn_twice_and_meet_bad_numbers

COMPUTE = ComputeConfig(workers=2, cpus_per_worker=0.5, zero_stage=2)
pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module", autouse=True)
def ray_cluster():
    """Ray, as the library starts it; down again for the next module."""
    import ray

    cluster.start(COMPUTE)
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Ended:
    """What came of the fit."""

    folder: Path
    stopped: TrainingStopped


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Two workers train, lose one, train on to the end, and then meet bad numbers."""
    folder = tmp_path_factory.mktemp("fit")
    with pytest.raises(TrainingStopped) as stopped:
        run(COMPUTE, learn_twice_and_meet_bad_numbers, {"folder": str(folder)}, "learn", folder / "work", 24)
    return Ended(folder, stopped.value)


def test_a_killed_worker_costs_time_but_no_bit(ended: Ended) -> None:
    assert (ended.folder / "died").exists()
    assert json.loads((ended.folder / "verdict.json").read_text()) == {"same": True, "images": 24, "workers": 2}


def test_what_stops_training_reaches_the_driver_as_itself(ended: Ended) -> None:
    assert re.search(r"not finite at image 0, in the samples \[2, 3\]", str(ended.stopped))


def test_too_few_cpus_are_told_before_anything_hangs() -> None:
    problems = capacity.check(replace(COMPUTE, workers=64, cpus_per_worker=1.0))
    assert len(problems) == 1 and "64 workers" in problems[0]
    assert capacity.check(COMPUTE) == []

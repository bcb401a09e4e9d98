"""Ray Train for real: two workers on this machine. Each fit takes some 15 s, so there are three."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from naruto_add.config import ComputeConfig
from naruto_add.models.load import load_components
from naruto_add.on_ray import capacity, cluster
from naruto_add.on_ray.train import run, train_student
from naruto_add.training.guards import TrainingStopped
from tests.folders import tiny_base, tiny_shards
from tests.integration.ray_workers import learn_twice, meet_bad_numbers
from tests.unit.on_ray.test_workers import recipe_of

COMPUTE = ComputeConfig(workers=2, cpus_per_worker=0.5, zero_stage=2)
pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module", autouse=True)
def ray_cluster():
    """Ray, as the library starts it; down again for the next module."""
    import ray

    cluster.start(COMPUTE)
    yield
    ray.shutdown()


def test_a_killed_worker_costs_time_but_no_bit(tmp_path: Path) -> None:
    run(COMPUTE, learn_twice, {"folder": str(tmp_path)}, "learn", tmp_path / "work", 24)
    assert (tmp_path / "died").exists()
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"same": True, "images": 24, "workers": 2}


def test_what_stops_training_reaches_the_driver_as_itself(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match=r"not finite at image 0, in the samples \[2, 3\]"):
        run(COMPUTE, meet_bad_numbers, {"folder": str(tmp_path)}, "bad", tmp_path / "work", 24)


def test_a_student_is_distilled_through_ray_data_and_deepspeed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # folders named from here are found by workers who run elsewhere
    base, shards = tiny_base(Path("base")), tiny_shards(Path("shards"))
    recipe = replace(recipe_of(base), compute=COMPUTE)
    train_student(recipe, base, shards, Path("work"), Path("student"))
    assert len(load_components(tmp_path / "student").unet.state_dict()) < len(load_components(base).unet.state_dict())
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert shown[-1]["stage"] == "distill" and shown[-1]["images"] == 8
    assert {"adversarial", "distillation", "logit_gap", "student_grad_norm"} <= shown[-1].keys()


def test_too_few_cpus_are_told_before_anything_hangs() -> None:
    problems = capacity.check(replace(COMPUTE, workers=64, cpus_per_worker=1.0))
    assert len(problems) == 1 and "64 workers" in problems[0]
    assert capacity.check(COMPUTE) == []

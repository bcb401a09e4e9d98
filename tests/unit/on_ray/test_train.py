"""What surrounds a Ray run, without Ray."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from naruto_add.config import ComputeConfig
from naruto_add.errors import UserError
from naruto_add.on_ray import train
from naruto_add.on_ray.train import guarded, raise_mistake, run, stop_file_on_sigterm
from naruto_add.training.guards import STOP, TrainingStopped
from tests.alone import in_own_process

INLINE = ComputeConfig(launcher="inline", workers=1)


def stopping(config: dict[str, Any]) -> None:
    raise TrainingStopped("collapse at image 8")


def mistaken(config: dict[str, Any]) -> None:
    raise UserError("train-00003.tar: content changed")


def writing(config: dict[str, Any]) -> None:
    Path(config["file"]).write_text("done")


def plain(worker: Any, work: Path) -> dict[str, Any]:
    return {"worker": worker, "config": {"file": str(work / "file")}, "work": str(work)}


def test_a_stop_on_all_ranks_is_left_for_the_driver_and_ray_sees_none(tmp_path: Path) -> None:
    guarded(plain(stopping, tmp_path))
    with pytest.raises(TrainingStopped, match="collapse at image 8"):
        raise_mistake(tmp_path)


def test_one_rank_s_mistake_ends_the_others_once_and_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        guarded(plain(mistaken, tmp_path))  # Ray ends the group and starts it again ...
    guarded(plain(writing, tmp_path))  # ... where all ranks return at once
    assert not (tmp_path / "file").exists()
    with pytest.raises(UserError, match="train-00003") as caught:
        raise_mistake(tmp_path)
    assert not isinstance(caught.value, TrainingStopped)


def test_what_an_earlier_run_has_left_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / "mistake-0.json").write_text(json.dumps({"stopped": True, "message": "old"}))
    (tmp_path / STOP).touch()
    run(INLINE, writing, {"file": str(tmp_path / "file")}, "name", tmp_path, 8)
    assert (tmp_path / "file").read_text() == "done"
    raise_mistake(tmp_path)
    assert not (tmp_path / STOP).exists()


def test_sigterm_becomes_the_stop_file(tmp_path: Path) -> None:
    if in_own_process(__file__, "test_sigterm_becomes_the_stop_file"):
        return
    before = signal.getsignal(signal.SIGTERM)
    with stop_file_on_sigterm(tmp_path):
        os.kill(os.getpid(), signal.SIGTERM)
        assert (tmp_path / STOP).exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_workers_environment_fits_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    from naruto_add.on_ray import capacity, cluster
    from naruto_add.on_ray.trainer import TransientTrainer, trainer_class

    env = cluster.worker_env(ComputeConfig(threads_per_worker=3))
    assert env["OMP_NUM_THREADS"] == "3" and env["DS_ACCELERATOR"] == "cpu"
    assert "DS_ACCELERATOR" not in cluster.worker_env(ComputeConfig(gpus_per_worker=1))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert capacity.is_ours(INLINE) and trainer_class(INLINE) is TransientTrainer
    assert not capacity.is_ours(replace(INLINE, address="10.0.0.1:6379"))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # in a job of `ray job submit`
    assert not capacity.is_ours(INLINE) and trainer_class(INLINE) is not TransientTrainer


def test_a_run_that_advances_between_its_failures_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.train import TrainingFailedError, WorkerGroupError

    saved = [8, 16, 16]
    seen: list[int] = []

    def failing(compute: ComputeConfig, worker: Any, config: dict[str, Any], name: str, work: Path) -> None:
        (work / "checkpoints" / f"images-{saved[len(seen)]:012d}").mkdir(parents=True, exist_ok=True)
        seen.append(saved[len(seen)])
        raise WorkerGroupError("a machine was taken away", {})

    monkeypatch.setattr(train, "fit", failing)
    with pytest.raises(TrainingFailedError, match="taken away"):
        train.fit_while_it_advances(INLINE, writing, {}, "name", tmp_path, train.images_saved)
    assert seen == saved  # the third has saved nothing new
    monkeypatch.setattr(train, "fit", lambda *_: seen.append(24))
    train.fit_while_it_advances(INLINE, writing, {}, "name", tmp_path, train.images_saved)
    assert seen == [*saved, 24]


def test_an_evaluation_advances_by_what_it_draws(tmp_path: Path) -> None:
    assert train.pictures_drawn(tmp_path) == 0
    (tmp_path / "images" / "heldout-student-4").mkdir(parents=True)
    for name in ("00000000-3", "00000003-3"):
        (tmp_path / "images" / "heldout-student-4" / f"{name}.safetensors").touch()
    assert train.pictures_drawn(tmp_path) == 2

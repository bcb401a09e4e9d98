"""MLflow and Weights & Biases for real, on this machine: a folder of MLflow's, and the offline files of W&B's."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from naruto_add import recipe as recipes
from naruto_add.config import TrackConfig
from naruto_add.errors import UserError
from naruto_add.training import tracking
from naruto_add.training.state import TrainState
from naruto_add.training.telemetry import Reporter
from naruto_add.training.tracking import check, trackers


def sinks(work: Path, **track: str) -> list[Any]:
    """The trackers of a smoke run's distillation."""
    return trackers(recipes.load("smoke", {f"track.{name}": place for name, place in track.items()}), work)


def learn(reporter: Reporter, start: int, stop: int, total: int = 12) -> None:
    """Four images a step from `start` to `stop`."""
    with reporter.started(start, total):
        for images in range(start + 4, stop + 1, 4):
            reporter.log(TrainState(0, 4, images), {"loss": 1.0 / images})


def test_nothing_is_tracked_unasked(tmp_path: Path) -> None:
    for name in recipes.names():
        assert recipes.load(name).track == TrackConfig() and check(recipes.load(name).track) == []
    assert sinks(tmp_path) == []


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")])
def test_a_missing_package_is_named_with_its_command(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    (problem,) = check(TrackConfig(**{name: "http://x"}))
    assert f"track.{name}" in problem and f"pip install {package}" in problem
    with (
        pytest.raises(UserError, match=f"pip install {package}"),
        Reporter(sinks(tmp_path, **{name: "http://x"})).started(0, 4),
    ):
        pass


@pytest.mark.parametrize(
    ("place", "told"),
    [("runs", "give a URL"), ("https://me:secret@host", "holds a password"), ("sqlite:////m.db", None)],
)
def test_a_vague_place_is_told(place: str, told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    found = check(TrackConfig(mlflow=place))
    assert (found == []) if told is None else (told in found[0] and "secret" not in found[0])


def test_mlflow_gets_the_recipe_and_every_record_and_goes_on_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the one store that needs neither server nor database
    place = (tmp_path / "mlruns").as_uri()
    work = tmp_path / "distill-0123456789ab"
    work.mkdir()
    learn(Reporter(sinks(work, mlflow=place)), 0, 8)
    client = mlflow.MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("naruto-add").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "KILLED"  # 8 of 12 images: stopped, to be resumed
    learn(Reporter(sinks(work, mlflow=place)), 8, 12)
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED" and run.info.run_name == "smoke/distill-0123456789ab"
    assert run.data.params["distill.optim.images"] == "16" and run.data.params["data.source"] == "builtin"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert {m.step: m.value for m in history} == {4: 0.25, 8: 0.125, 12: pytest.approx(1 / 12)}


def test_a_tracker_that_falls_silent_costs_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store, away = tmp_path / "mlruns", tmp_path / "away"
    (sink,) = sinks(tmp_path, mlflow=store.as_uri())
    reporter = Reporter([sink])
    with caplog.at_level(logging.WARNING), reporter.started(0, 12):
        store.rename(away)
        store.touch()  # no folder can be made there
        sink._next = 0.0
        reporter.log(TrainState(0, 4, 4), {"loss": 0.25})
        assert "records are kept" in caplog.text and sink._pause == 2 * tracking.SEND_S
        store.unlink()
        away.rename(store)
        reporter.log(TrainState(0, 4, 12), {"loss": 0.5})
    client = mlflow.MlflowClient(tracking_uri=store.as_uri())
    run = tracking.RunIds(tmp_path, "mlflow", store.as_uri()).read()
    assert [m.value for m in client.get_metric_history(run, "loss")] == [0.25, 0.5]


def test_a_tracker_that_cannot_be_reached_stops_a_run_at_its_start_but_not_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = f"http://127.0.0.1:{port}"  # nobody listens any more
    with pytest.raises(UserError, match=r"track\.mlflow http://127.0.0.1.*leave track\.mlflow out"):
        learn(Reporter(sinks(tmp_path, mlflow=place)), 0, 4)
    with caplog.at_level(logging.WARNING):
        learn(Reporter(sinks(tmp_path, mlflow=place)), 8, 12)
    assert "Going on without" in caplog.text


def test_wandb_keeps_metrics_and_recipe_and_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    learn(Reporter(sinks(tmp_path, wandb="team/ninjas")), 0, 8)
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    stored = file.read_bytes()
    assert b"loss" in stored and b"distill.optim.images" in stored and b"smoke/" in stored
    assert socket.gethostname().encode() not in stored and sys.executable.encode() not in stored
    assert not list(tmp_path.glob("wandb/offline-run-*/files/*metadata.json"))
    run = tracking.RunIds(tmp_path, "wandb", "team/ninjas").read()
    assert run is not None and run in file.name
    learn(Reporter(sinks(tmp_path, wandb="team/ninjas")), 8, 12)
    assert sum(run in path.name for path in tmp_path.glob("wandb/offline-run-*/*.wandb")) == 2

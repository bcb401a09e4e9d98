"""Trackers that were asked for by name: MLflow and Weights & Biases, as sinks of training's records.

Their packages are imported when training starts, never before. A tracker that cannot be reached at the start is the
user's mistake; one that falls silent later costs warnings, not the run: `metrics.jsonl` has every record anyway.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from naruto_add import __version__
from naruto_add.artifact import write_json
from naruto_add.config import Recipe, TrackConfig
from naruto_add.errors import UserError
from naruto_add.training.telemetry import Record, Sink

log = logging.getLogger(__name__)

PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}
"""What `pip install` calls the package of a setting."""
RUN_IDS = "trackers.json"
"""In a work folder: which run of a tracker it is, so that resuming goes on in the same one."""
PROJECT = "naruto-add"
SEND_S = 10.0
"""How often records are sent to MLflow."""
LONGEST_PAUSE_S = 600.0
"""Between tries while MLflow does not answer; every try may hold training up for a few seconds."""
MOST_METRICS, MOST_PARAMS = 1000, 100
"""In one request (MLflow's REST API)."""
PRIVATE = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""Both packages tell their makers how they are used unless they are told not to."""
BRIEF = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own patience is minutes, for which all workers would wait."""


def check(track: TrackConfig) -> list[str]:
    """What is wrong with the settings, told without importing a tracker."""
    return [*missing(track), *vague(track)]


def missing(track: TrackConfig) -> Iterator[str]:
    """Packages that are not installed."""
    for name, package in PACKAGES.items():
        if getattr(track, name) is not None and find_spec(name) is None:
            yield f"track.{name} needs a package that is not installed: pip install {package}, or leave it out."


def vague(track: TrackConfig) -> Iterator[str]:
    """Places that would be another one in each worker, or keys in a recipe."""
    place = track.mlflow
    if place is not None and "://" not in place and place != "databricks":
        yield f"track.mlflow {place}: give a URL, or a URI such as sqlite:////data/mlflow.db."
    if place is not None and urlsplit(place).password:
        yield "track.mlflow holds a password: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."


def trackers(recipe: Recipe, work: Path) -> list[Sink]:
    """The sinks that the recipe asks for, for the stage whose work folder this is."""
    settings = dict(flat(asdict(recipe)))
    name, found = f"{recipe.name}/{work.name}", list[Sink]()
    if recipe.track.mlflow is not None:
        found.append(MLflowSink(recipe.track.mlflow, name, settings, work))
    if recipe.track.wandb is not None:
        found.append(WandbSink(recipe.track.wandb, name, settings, work))
    return found


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by their dotted path."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def prepared(name: str) -> None:
    """Tell the packages to be private and brief, before they are imported; raises UserError if one is missing."""
    if find_spec(name) is None:
        raise UserError(f"track.{name}: the package is missing on this machine: pip install {PACKAGES[name]}.")
    for variable, value in (PRIVATE | BRIEF).items():
        os.environ.setdefault(variable, value)


class RunIds:
    """The id of a tracker's run, kept in the work folder for as long as the place is the same."""

    def __init__(self, work: Path, tracker: str, place: str) -> None:
        self._path = work / RUN_IDS
        self._tracker, self._place = tracker, place

    def read(self) -> str | None:
        """The run that this work folder has there already."""
        known = self._all().get(self._tracker, {})
        return known.get("run") if known.get("place") == self._place else None

    def write(self, run: str) -> None:
        """Remember it."""
        write_json(self._path, self._all() | {self._tracker: {"place": self._place, "run": run}})

    def _all(self) -> dict[str, dict[str, str]]:
        return json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}


class MLflowSink:
    """Sends records to an MLflow run every ten seconds; keeps them while nobody answers."""

    def __init__(self, uri: str, name: str, settings: Mapping[str, Any], work: Path) -> None:
        self._uri, self._name, self._settings = uri, name, settings
        self._ids = RunIds(work, "mlflow", uri)
        self._client: Any = None
        self._run: str | None = None
        self._pending: list[Any] = []
        self._finished = False
        self._pause = SEND_S
        self._next = 0.0

    def open(self, images: int, total: int) -> None:
        """See `Sink`; raises UserError if a run that begins cannot be told to the tracker."""
        prepared("mlflow")
        from mlflow.exceptions import MlflowException

        self._pause, self._next, self._finished = SEND_S, time.monotonic() + SEND_S, False
        try:
            self._connect()
        except (MlflowException, OSError) as error:
            told = f"track.mlflow {self._uri}: {first_line(error)}."
            if images == 0:
                raise UserError(f"{told} Start or mend the server, or leave track.mlflow out.") from error
            log.warning("%s Going on without; records are sent when it answers.", told)

    def record(self, record: Record) -> None:
        """See `Sink`."""
        from mlflow.entities import Metric

        at, images = int(time.time() * 1000), int(record["images"])
        self._pending += [Metric(name, value, at, images) for name, value in record.items() if name != "total_images"]
        self._finished = images >= record["total_images"]
        if time.monotonic() >= self._next:
            self._send()

    def close(self) -> None:
        """See `Sink`."""
        self._send("FINISHED" if self._finished else "KILLED")

    def _connect(self) -> None:
        """Find the run of this work folder, or make one with the recipe as its parameters."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=self._uri)
        self._run = self._ids.read()
        if self._run is not None:
            self._client.update_run(self._run, status="RUNNING")
            return
        tags = {"mlflow.runName": self._name, "naruto_add.version": __version__}
        run = self._client.create_run(self._experiment(), tags=tags).info.run_id
        params = [Param(key, str(value)) for key, value in self._settings.items()]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(run, params=params[start : start + MOST_PARAMS])
        self._ids.write(run)
        self._run = run

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name)

    def _send(self, status: str | None = None) -> None:
        """Send what is pending, and the run's status; what fails is kept for a later try, ever less often."""
        from mlflow.exceptions import MlflowException

        try:
            if self._run is None:
                self._connect()
            while self._pending:
                self._client.log_batch(self._run, metrics=self._pending[:MOST_METRICS])
                del self._pending[:MOST_METRICS]
            if status is not None:
                self._client.set_terminated(self._run, status)
            self._pause = SEND_S
        except (MlflowException, OSError) as error:
            log.warning("track.mlflow: %s; %d records are kept.", first_line(error), len(self._pending))
            self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
        self._next = time.monotonic() + self._pause


class WandbSink:
    """Hands records to Weights & Biases, whose own process sends them: metrics and recipe, nothing of the machine."""

    def __init__(self, project: str, name: str, settings: Mapping[str, Any], work: Path) -> None:
        self._project, self._name, self._settings, self._work = project, name, settings, work
        self._ids = RunIds(work, "wandb", project)
        self._run: Any = None

    def open(self, images: int, total: int) -> None:
        """See `Sink`; raises UserError if a run that begins cannot be told to the tracker."""
        prepared("wandb")
        from wandb.errors import Error

        try:
            self._run = self._begin()
        except Error as error:
            told = f"track.wandb {self._project}: {first_line(error)}."
            if images == 0:
                raise UserError(f"{told} Run `wandb login`, set WANDB_API_KEY, or leave track.wandb out.") from error
            log.warning("%s Going on without it.", told)

    def record(self, record: Record) -> None:
        """See `Sink`."""
        if self._run is not None:
            self._run.log({name: value for name, value in record.items() if name != "total_images"})

    def close(self) -> None:
        """See `Sink`."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _begin(self) -> Any:
        """The run of this work folder, begun or gone on with."""
        import wandb

        entity, _, project = self._project.rpartition("/")
        run_id = self._ids.read() or secrets.token_hex(8)
        quiet = wandb.Settings(
            console="off",  # stdout stays here
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            silent=True,
        )
        run = wandb.init(
            entity=entity or None,
            project=project,
            name=self._name,
            id=run_id,
            resume="allow",
            reinit="create_new",
            dir=self._work,
            config=dict(self._settings),
            settings=quiet,
        )
        self._ids.write(run_id)
        run.define_metric("*", step_metric="images")
        return run


def first_line(error: Exception) -> str:
    """The first line of an error's text, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")

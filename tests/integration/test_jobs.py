"""Every stage as a Ray job, on a head and two workers that ask for a token, against one process with the same seed."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from naruto_add.artifact import read_manifest
from tests.conftest import REPOSITORY

TOKEN = "a-token-of-this-test-alone-0123456789abcdef"
WARM = """
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init()
here = ray.remote(num_cpus=0.5)(lambda: None)
places = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]
ray.get([here.options(scheduling_strategy=On(place, soft=False)).remote() for place in places])
"""
"""Has every raylet unpack the code once. On one machine they do it in the same folder, and a raylet that unpacks it
late takes it away for a moment from a job that has begun."""
STAGES = ("prepare", "finetune", "distill", "evaluate", "export")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A head without CPUs and two workers with one each; gives the environment of a client that has the token."""
    token = tmp_path_factory.mktemp("secrets") / "token"
    token.write_text(TOKEN, encoding="utf-8")
    env = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ADDRESS": "",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "NARUTO_ADD_ASSETS": str(REPOSITORY / "naruto_add" / "assets"),
    }
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.three_nodes", str(port)],
        env=env,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert any(line == "ready\n" for line in process.stdout), "the cluster did not start"
        reached = env | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}
        (warm,) = submitted(reached, [shlex.join([sys.executable, "-c", WARM])])
        assert warm["status"] == "SUCCEEDED", warm["logs"]
        yield reached
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def submitted(cluster: dict[str, str], entrypoints: list[str]) -> list[dict[str, Any]]:
    """What came of the jobs, their code uploaded from this repository."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.submitting"],
        env=cluster,
        cwd=REPOSITORY,
        input=json.dumps([(entrypoint, str(REPOSITORY)) for entrypoint in entrypoints]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def events(logs: str) -> dict[str, dict[str, Any]]:
    """The JSON lines that a job has said, the last of each kind."""
    lines = (json.loads(line) for line in logs.splitlines() if line.startswith('{"event"'))
    return {line["event"]: line for line in lines}


def on_workers(tiny_words: list[str]) -> list[str]:
    """The tiny run's words, but trained by a Ray Train worker on the cluster."""
    return [*tiny_words, "--compute.launcher", "ray", "--compute.cpus-per-worker", "0.5"]


def call(job: str, words: list[str], run: Path) -> str:
    """The entrypoint of a stage."""
    return shlex.join([sys.executable, *job.split(), *words, "--run", str(run)])


def test_the_stages_as_jobs_make_what_one_process_makes(
    cluster: dict[str, str], tiny_words: list[str], tiny_run: Path, tmp_path: Path
) -> None:
    run, words = tmp_path / "run", on_workers(tiny_words)
    done = submitted(
        cluster, [call("jobs/prepare.py", words, run), *(call(f"-m jobs.{stage}", words, run) for stage in STAGES[1:])]
    )
    assert [each["status"] for each in done] == ["SUCCEEDED"] * len(STAGES), done[-1]["logs"]
    for kind in ("shards", "teacher", "student"):
        assert read_manifest(run / kind).digest == read_manifest(tiny_run / kind).digest, kind
    assert files(run / "bundle", ".safetensors") == files(tiny_run / "bundle", ".safetensors") != {}
    assert scores(run) == scores(tiny_run)

    assert [json.loads(line)["id"] for line in (run / "jobs.jsonl").read_text().splitlines()] == [d["id"] for d in done]
    for stage, each in zip(STAGES, done, strict=True):
        said = events(each["logs"])
        assert said["job"]["id"] == each["id"] and said["job"]["run"] == str(run)
        assert said["stage"]["stage"] == stage and said["stage"]["status"] == "done"
        if stage != "export":
            assert said["dashboard"]["url"] == f"{cluster['RAY_API_SERVER_ADDRESS']}/#/jobs/{each['id']}"
        if stage == "evaluate":
            (work,) = Path(said["job"]["work"]).glob("evaluate-*")
            assert json.loads((work / "progress.jsonl").read_text().splitlines()[-1])["what"] == "scores", "on a worker"
        if stage in ("finetune", "distill"):
            (work,) = Path(said["job"]["work"]).glob(f"{stage}-*")
            assert (work / "metrics.jsonl").is_file() and list(work.glob("previews/*.png"))


def files(folder: Path, ending: str) -> dict[str, list[Any]]:
    """Sizes and hashes of an artifact's files of a kind."""
    return {name: found for name, found in read_manifest(folder).files.items() if name.endswith(ending)}


def scores(run: Path) -> dict[str, Any]:
    """The report's scores without those that a clock has measured."""
    found = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))["scores"]
    return {row: {k: v for k, v in values.items() if not k.startswith("latency")} for row, values in found.items()}


def test_workers_that_do_not_fit_are_refused_before_anything_starts(
    cluster: dict[str, str], tiny_words: list[str], tmp_path: Path
) -> None:
    run, words = tmp_path / "run", [*on_workers(tiny_words), "--compute.cpus-per-worker", "1.5"]
    (refused,) = submitted(cluster, [call("-m jobs.pipeline", words, run)])
    assert refused["status"] == "FAILED" and "Set compute.cpus_per_worker to 1" in refused["logs"]
    assert "Traceback" not in refused["logs"] and not run.exists()


def test_a_stranger_is_refused(cluster: dict[str, str]) -> None:
    body = json.dumps({"entrypoint": "true"}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer guessed"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(
            urllib.request.Request(f"{cluster['RAY_API_SERVER_ADDRESS']}/api/jobs/", data=body, headers=headers)
        )
    assert refused.value.code in (401, 403)

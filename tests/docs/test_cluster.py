"""The cluster files are valid for the locked Ray, and its job API runs our entry points."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.conftest import REPOSITORY

RAY = Path(sys.executable).with_name("ray")
PORT, DASHBOARD_PORT = 6390, 8275


def test_local_yaml_is_valid_for_ray_up() -> None:
    config = yaml.safe_load((REPOSITORY / "cluster" / "local.yaml").read_text())
    full = prepare_config(config)
    validate_config(full)
    assert full["max_workers"] == len(config["provider"]["worker_ips"])
    commands = " ".join([*config["head_start_ray_commands"], *config["worker_start_ray_commands"]])
    assert "--dashboard-host=127.0.0.1" in commands and commands.count("RAY_AUTH_MODE=token") == 2


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Ray head on the loopback that asks for a token; gives the environment of a client that has it."""
    token = tmp_path / "token"
    token.write_text("a-token-of-this-test-alone-0123456789abcdef", encoding="utf-8")
    env = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ADDRESS": ""}
    start = [
        *("start", "--head", "--block", "--num-cpus=2", f"--port={PORT}", "--dashboard-host=127.0.0.1"),
        *(f"--dashboard-port={DASHBOARD_PORT}", "--disable-usage-stats"),
    ]
    process = subprocess.Popen([RAY, *start], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Ray runtime started" in line:
            break
    yield env | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{DASHBOARD_PORT}"}
    process.terminate()
    process.wait(timeout=60)


@pytest.mark.ray
def test_a_job_runs_an_entry_point_and_needs_the_token(
    head: dict[str, str], tiny_words: list[str], tmp_path: Path
) -> None:
    words = ["-m", "jobs.prepare", *tiny_words, "--run", str(tmp_path / "run")]
    submit = [RAY, "job", "submit", "--", sys.executable, *words]

    stranger = {k: v for k, v in head.items() if k != "RAY_AUTH_TOKEN_PATH"} | {"RAY_AUTH_TOKEN": "guessed"}
    refused = subprocess.run(submit, env=stranger, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and not (tmp_path / "run").exists()

    done = subprocess.run(submit, env=head, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "shards" / "manifest.json").is_file()

"""The Dockerfile and the script that it runs, checked without a container engine; and what a job uploads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from tests.conftest import REPOSITORY

DOCKER = REPOSITORY / "cluster" / "docker"
INSTALL = DOCKER / "install.sh"
LOCK = REPOSITORY / "requirements.lock"
MOST_UPLOADED = 2_000_000


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    lines = (line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#"))
    return [(name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines)]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions by stage, the FROM first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            stage = found[rest.split()[-1]] = []
        stage.append((name, rest))
    return found


def test_bases_are_pinned() -> None:
    names = set(stages())
    outside = [rest.split()[0] for name, rest in instructions() if name == "FROM" and rest.split()[0] not in names]
    assert outside
    for image in outside:
        assert re.fullmatch(r"[\w./-]+(:\d+\.\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})", image), image
    (python,) = outside
    assert f"python:{sys.version_info.major}.{sys.version_info.minor}." in python, "the lock's Python"


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_images_do_not_run_as_root_nor_own_their_code(target: str) -> None:
    stage = stages()[target]
    users = [rest for name, rest in stage if name == "USER"]
    assert users and users[-1].isdigit() and int(users[-1]) > 0, "a number, for Kubernetes' runAsNonRoot"
    assert any(f"useradd --create-home --uid {users[-1]}" in rest for _, rest in stages()["base"])
    assert stage[0][1].split()[0] == "base", "the final stage has no build's leftovers"
    (copied,) = (rest for name, rest in stage if name == "COPY")
    assert copied == f"--from=build-{target} /opt/naruto-add /opt/naruto-add"
    after = [name for name, _ in stage[[name for name, _ in stage].index("USER") :]]
    assert "COPY" not in after and "RUN" not in after


def test_no_secrets_no_latest_and_only_the_script_is_run() -> None:
    for name, rest in instructions():
        assert ":latest" not in rest and name != "ADD"
        assert not re.search(r"(?i)(secret|password|token=|api_key)", rest), rest
        if name == "RUN":
            assert rest.startswith(("install.sh ", "useradd ")), "steps belong into install.sh, where they can be run"
        if name == "COPY" and not rest.startswith("--from"):
            assert all((REPOSITORY / source).exists() for source in rest.split()[:-1]), rest


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert allowed == copied and "*" in lines


def install(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script on this environment."""
    places = {"VENV": sys.prefix, "LOCK": str(LOCK), "SOURCE": str(REPOSITORY)}
    return subprocess.run(
        ["bash", INSTALL, *words], env=os.environ | places | env, capture_output=True, text=True, check=False
    )


def test_the_script_s_steps_are_those_of_the_dockerfile() -> None:
    assert subprocess.run(["bash", "-n", INSTALL], check=False).returncode == 0
    assert os.access(INSTALL, os.X_OK)
    used = {step for name, rest in instructions() if name == "RUN" for step in re.findall(r"install\.sh (\w+)", rest)}
    assert used == set(re.findall(r"^    (\w+)\) ", INSTALL.read_text(encoding="utf-8").rpartition("case ")[2], re.M))
    wrong = install("pyhton")
    assert wrong.returncode == 2 and "install.sh verify" in wrong.stderr
    assert install("python", "tpu").returncode == 2


@pytest.mark.slow
def test_the_lock_satisfies_the_project() -> None:
    """pip itself resolves what the script installs, from what is installed here, offline; nothing is changed."""
    offline = {"PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0: no isolation, says pip
    done = install("python", "cuda", **offline)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"Would install (.*)", done.stdout) == ["naruto-add-0.1.0"]


def test_an_environment_that_is_not_the_lock_s_is_told(tmp_path: Path) -> None:
    assert install("verify").returncode == 0, install("verify").stderr
    lock = tmp_path / "requirements.lock"
    text = LOCK.read_text(encoding="utf-8")
    lock.write_text(re.sub(r"(?m)^ray==.*$", "ray==1.0", text).replace("rich==", "poor=="), encoding="utf-8")
    wrong = install("verify", LOCK=str(lock))
    assert wrong.returncode == 1
    assert "the lock says 1.0" in wrong.stderr and re.search(r"rich \S+ the lock says nothing", wrong.stderr)


def test_what_a_job_uploads_is_small(tmp_path: Path) -> None:
    """`--working-dir .`, packed by Ray itself: code and recipes; no models, tests, runs or environments."""
    package = tmp_path / "package.zip"
    create_package(
        str(REPOSITORY), package, include_gitignore=True, excludes=get_runtime_env_default_excludes(), logger=None
    )
    names = set(ZipFile(package).namelist())
    assert {"jobs/distill.py", "naruto_add/recipes/mini.yaml", "serve/deployment.py"} <= names
    forbidden = ("tests/", "naruto_add/assets/", "runs/", ".venv/", ".git/")
    assert not [name for name in names if name.startswith(forbidden) or "__pycache__" in name]
    assert package.stat().st_size < MOST_UPLOADED

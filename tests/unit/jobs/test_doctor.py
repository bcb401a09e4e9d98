import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from jobs import checkup
from jobs.reach_ray import ray_cluster
from tests.conftest import Done


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server with a bucket called `mine`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "very-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="mine")
    yield url
    server.stop()


def test_a_sound_machine_passes_and_tells_nothing_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Callable[[Sequence[str | Path]], Done]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HF_TOKEN", "very-secret")
    done = here(["doctor", "--run", tmp_path / "run"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("```\n") and done.stdout.endswith("```\nNothing stands in the way.\n")
    for line in ("naruto-add", "python", *checkup.PACKAGES, "memory", "disk", "accelerator", "ray cluster", "storage"):
        assert f"\n  {line}" in done.stdout
    assert not any(private in done.stdout for private in (str(tmp_path), str(Path.home()), "very-secret"))
    assert list(tmp_path.iterdir()) == []


def test_what_stands_in_the_way_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Callable[[Sequence[str | Path]], Done]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    done = here(["doctor", "--run", tmp_path])
    assert done.returncode == 2
    assert "Nothing listens at the Ray address: start the cluster" in done.stderr
    assert "! ray cluster" in done.stdout and "127.0.0.1" not in done.stdout + done.stderr


def test_a_cluster_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = ray_cluster(f"127.0.0.1:{silent.getsockname()[1]}", limit_s=0.5)
    assert found.problem is not None and "did not answer within 0.5 s" in found.problem


@pytest.mark.parametrize("address", ["nowhere", "host:no-port", "127.0.0.1:9", "ray://127.0.0.1:9"])
def test_words_that_are_no_address_are_not_waited_for(address: str) -> None:
    limit_s = 0.1
    assert ray_cluster(address, limit_s).problem is not None


def test_s3_is_written_read_and_cleared(endpoint: str) -> None:
    assert checkup.storage("s3://mine/runs", endpoint).problem is None
    assert "Contents" not in boto3.client("s3", endpoint_url=endpoint).list_objects_v2(Bucket="mine")
    refused = checkup.storage("s3://other/runs", endpoint).problem
    assert refused is not None and "NoSuchBucket" in refused and "very-secret" not in refused


def test_a_disk_that_gives_back_something_else_is_unsound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"else")
    assert checkup.storage(str(tmp_path), None).problem is not None


def test_versions_that_are_missing_or_too_old() -> None:
    assert "make install" in (checkup.package_version("no-such-package").problem or "")
    assert checkup.python_version((3, 10, 1)).problem and not checkup.python_version((3, 13, 0)).problem


def test_the_commit_is_that_of_the_repository_that_tracks_the_folder(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull}
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *named, *words]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    package = tmp_path / "package"
    package.mkdir()
    (package / "file").write_text("a", encoding="utf-8")
    assert checkup.git_commit(package) is None, "nothing of it is tracked: installed inside a foreign repository"
    git("add", ".")
    git("commit", "-m", "one")
    assert checkup.git_commit(package) == git("rev-parse", "--short=12", "HEAD")
    (package / "file").write_text("b", encoding="utf-8")
    assert (checkup.git_commit(package) or "").endswith("+")

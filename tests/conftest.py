"""Shared by all tests: threads that fit the machine, and runs of the pipeline that several tests look at."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from naruto_add.cli import main

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads that spin take the other process's core
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # or two clusters beside each other starve each other
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if "NARUTO_ADD_CACHE" not in os.environ:  # one for all processes of the tests, so that each model is converted once
    CACHE = tempfile.TemporaryDirectory(prefix="naruto-add-tests-")
    os.environ["NARUTO_ADD_CACHE"] = CACHE.name

REPOSITORY = Path(__file__).parents[1]


def naruto_add(
    words: Sequence[str | Path], timeout_s: int = 240, cwd: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user behind a pipe would."""
    command = [sys.executable, "-m", "naruto_add", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)


class Done(NamedTuple):
    """What came of a command line."""

    returncode: int
    stdout: str
    stderr: str


RUN, SERVER = "tiny_run", "one_server"
"""The fixtures that take longest; the tests that look at one share a process, so that it is made once."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests of a file share a process, for their module's fixtures; those of `RUN` share one whatever their file."""
    shared = (name for name in (RUN, SERVER) if looks_at(name, item))
    item.add_marker(pytest.mark.xdist_group(next(shared, item.path.stem)))


def looks_at(fixture: str, item: pytest.Item) -> bool:
    """Whether the test uses the fixture, itself or through another one."""
    return isinstance(item, pytest.Function) and fixture in item.fixturenames


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow first, or one process would still be at it when the other has done all the rest.

    The server last: it stays until the end, and would slow down the others.
    """
    slow, slowest = ({item.path for item in items if item.get_closest_marker(mark)} for mark in ("slow", "timeout"))
    items.sort(
        key=lambda item: (
            looks_at(SERVER, item),
            not looks_at(RUN, item),
            item.path not in slowest,
            item.path not in slow,
        )
    )


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Callable[[Sequence[str | Path]], Done]:
    """Run the command line in this process, which spares the seconds that a new one needs to import everything."""

    def call(words: Sequence[str | Path]) -> Done:
        capsys.readouterr()
        code = main(list(map(str, words)))
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base of tests/tiny.py as a diffusers folder: 32 px images, autoencoder with factor 4."""
    from naruto_add.models.load import save_components
    from tests.tiny import tiny_components

    folder = tmp_path_factory.mktemp("base")
    save_components(tiny_components(), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_words(tiny_base: Path) -> list[str]:
    """Flags that make the smoke recipe a matter of seconds: the tiny base, 32 px, one worker here, 8 guided steps."""
    return [
        *("--recipe", "smoke", "--teacher.base", str(tiny_base), "--data.size-px", "32"),
        *("--distill.head-start", "None", "--compute.launcher", "inline", "--compute.workers", "1"),
        *("--evaluate.teacher-steps", "8", "4", "2", "1", "--evaluate.base-steps", "8"),
    ]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_words: list[str]) -> Path:
    """A finished run of the whole pipeline on the tiny base; not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    done = naruto_add(["run", *tiny_words, "--run", run])
    assert done.returncode == 0, done.stderr
    return run

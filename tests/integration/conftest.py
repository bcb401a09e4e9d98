"""One server for all tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served import bundle, teacher
from tests.servers import Server, serving

__all__ = ["bundle", "teacher"]


@pytest.fixture(scope="session")
def one_server(bundle: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`naruto-add serve` on the tiny bundle and teacher; its tests run last, so that no other test meets it."""
    log = tmp_path_factory.mktemp("serve") / "serve.log"
    with serving(bundle, "--teacher", teacher, "--log-file", log, "--cache-mb", "0") as started:
        yield started

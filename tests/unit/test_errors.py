from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jobs.entry import guarded
from naruto_add.errors import UserError, storage_trouble


@contextmanager
def small_files() -> Iterator[None]:
    """Within it no file can grow beyond 4 KiB, which is to those who write what a full disk is.

    Not a fixture: pytest itself writes its progress, maybe to a file, before it takes fixtures down.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_whichever_library_meets_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        (tmp_path / "x.txt").write_text("x" * 10_000)

    with pytest.raises(UserError, match="File too large"), small_files(), storage_trouble():
        write()
    with pytest.raises(UserError, match="Free some space; the same command"), small_files(), storage_trouble():
        save_file({"weights": torch.zeros(10_000)}, tmp_path / "x.safetensors")
    with small_files():
        code = guarded(write)
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(("code", "cure"), [(errno.EROFS, "writable"), (errno.EACCES, "writable"), (errno.EIO, "back")])
def test_a_closed_or_lost_disk_is_told_with_its_cure(code: int, cure: str) -> None:
    with pytest.raises(UserError, match=f"runs/x: .*{cure}"), storage_trouble():
        raise OSError(code, os.strerror(code), "runs/x")


def test_what_is_not_storage_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), storage_trouble():
        sys.exit(1 // 0)
    with pytest.raises(FileNotFoundError), storage_trouble():
        Path("nowhere").read_text()

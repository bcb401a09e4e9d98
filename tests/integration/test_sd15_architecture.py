"""Stable Diffusion 1.5 is the same code: its true architecture takes a fine-tuning and a full ADD step on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest

from tests.conftest import REPOSITORY

ALL_WEIGHTS = pytest.param(None, 20, marks=pytest.mark.long, id="all-weights")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("lora_rank", "limit_gib"), [pytest.param(16, 12, id="lora"), ALL_WEIGHTS])
def test_one_fine_tuning_step_and_one_add_step_within_20_gib(lora_rank: int | None, limit_gib: int) -> None:
    """All weights take 18 GiB, and half a minute to touch them."""
    if psutil.virtual_memory().available < limit_gib * 2**30:
        pytest.skip(f"needs {limit_gib} GiB of memory")
    command = [sys.executable, "-m", "tests.integration.sd15_steps", json.dumps(lora_rank)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["unet_parameters"] == 859_520_964, "Stable Diffusion 1.5's own number"
    assert found["vae_parameters"] == 83_653_863
    assert found["text_parameters"] == 123_060_480
    assert found["student_parameters"] < 0.4 * found["unet_parameters"]
    assert found["teacher_moved"] > 0 and found["student_moved"] > 0 and found["heads_moved"] > 0
    assert found["judge_moved"] == 0, "the teacher never changes while it teaches"
    assert found["peak_gib"] < limit_gib, found

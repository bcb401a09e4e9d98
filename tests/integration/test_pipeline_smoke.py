"""Recipe `smoke` as shipped: the mini base, two Ray Train workers fed by Ray Data, DeepSpeed ZeRO, scores, bundle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from naruto_add import artifact
from tests.conftest import Done, naruto_add

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
LIMIT = 24
"""Seconds of the whole pipeline, for each that a process needs to load what a training worker needs: 13 on a quiet
machine. Loading is most of this recipe's time, and it takes longer where everything does."""


def loading_s() -> float:
    """Seconds until a new process has loaded what a training worker needs."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import naruto_add.on_ray.workers, deepspeed"], check=True)
    return time.perf_counter() - started


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(700)
def test_everything_within_its_time_and_again_within_seconds(
    tmp_path: Path, here: Callable[[Sequence[str | Path]], Done]
) -> None:
    run = tmp_path / "run"
    started = time.perf_counter()
    words = ["run", "--recipe", "smoke", "--run", "run"]  # a folder named from here is found by workers elsewhere
    done = naruto_add(words, timeout_s=600, cwd=tmp_path)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stdout + done.stderr
    assert seconds < LIMIT * loading_s()

    shown = [line for line in map(json.loads, done.stdout.splitlines()) if "images" in line]
    assert shown[-1]["stage"] == "distill" and shown[-1]["images"] == 16
    assert {"adversarial", "distillation", "logit_gap", "student_grad_norm"} <= shown[-1].keys()

    started = time.perf_counter()
    again = naruto_add(["run", "--recipe", "smoke", "--run", run])
    assert again.returncode == 0 and time.perf_counter() - started < 5

    for kind in ("shards", "teacher", "student", "report", "bundle"):
        artifact.verify(artifact.open_artifact(run / kind, kind))
    sizes = [(run / kind / WEIGHTS).stat().st_size for kind in ("student", "teacher")]
    assert sizes[0] < sizes[1]
    scores = json.loads((run / "report" / "report.json").read_text())["scores"]
    assert {"student@4", "student@2", "student@1", "teacher@50", "teacher@4", "teacher@1", "base@50"} <= scores.keys()
    assert scores["student@4"]["fd_real"] > 0 and scores["student@4"]["n"] > 0
    assert scores["student@4"]["prompt_accuracy"] is not None
    for out in ("first.png", "second.png"):
        words = [
            "generate",
            "Ninja en armure sombre",
            "--bundle",
            run / "bundle",
            "--seed",
            "7",
            "--out",
            tmp_path / out,
        ]
        assert here(words).returncode == 0
    with Image.open(tmp_path / "first.png") as first, Image.open(tmp_path / "second.png") as second:
        assert first.size == (128, 128)
        assert first.tobytes() == second.tobytes()

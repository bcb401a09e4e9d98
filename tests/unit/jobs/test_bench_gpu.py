"""The benchmark for one GPU, on the processor and a tiny base: that it runs and what it writes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from jobs.bench_gpu import main
from jobs.measuring import gpu
from naruto_add import recipe as recipes
from naruto_add.errors import UserError

FLAGS = {"data.size_px": 32, "distill.head_start": None}


def test_every_row_is_measured_and_training_stands_beside_the_plan(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "STEPS_BESIDE", (8,))
    monkeypatch.setattr(gpu, "WARM_UP", 1)
    file, out = tmp_path / "tiny.yaml", tmp_path / "out" / "gpu.json"
    plain = recipes.load("smoke", {**FLAGS, "teacher.base": str(tiny_base)})
    file.write_text(json.dumps(asdict(plain)))
    main(["--device", "cpu", "--recipes", str(file), "--micro-batches", "2", "--steps", "1", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [(row["what"], row["images"]) for row in rows] == [
        ("finetune", 2), ("distill", 2), ("student, 4 steps", 1), ("student, 1 steps", 1),
        ("teacher, guided, 8 steps", 1),
    ]  # fmt: skip
    assert all(row["value"] > 0 for row in rows)
    assert all(row["tflops"] > 0 and row["planned_gib"] > 0 for row in rows[:2])
    assert rows[4]["value"] > rows[2]["value"] > rows[3]["value"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(UserError, match="torch sees no GPU here"):
        main([])

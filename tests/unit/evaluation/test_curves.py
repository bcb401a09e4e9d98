"""The curves of every method, from what its own steps record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from naruto_add.config import DistillConfig
from naruto_add.evaluation.curves import WANTED, training_curves
from tests.unit.distill.tools import BATCH, OPTIM, STATE, make

ADVERSARIAL = ["Student: weighted loss terms", "Discriminator: mean logits"]
CONSISTENCY = ["Student: inconsistency along a trajectory"]
OUTPUT = ["Student: distance to the teacher's results", "Student: distance to the teacher's features"]
ADD = DistillConfig(optim=OPTIM)


@pytest.mark.parametrize(
    ("config", "titles"),
    [
        (ADD, ADVERSARIAL),
        (replace(ADD, method="ladd"), ADVERSARIAL),
        (replace(ADD, method="ladd", distill_weight=0.0, mismatch_weight=1.0), ADVERSARIAL),
        (replace(ADD, method="lcm"), CONSISTENCY),
        (replace(ADD, method="output"), OUTPUT),
        (replace(ADD, method="output", feature_weight=0.0), OUTPUT[:1]),
    ],
    ids=["add", "ladd", "ladd_without_distillation", "lcm", "output", "output_without_features"],
)
def test_a_distillation_draws_its_own_terms_and_no_others(
    config: DistillConfig, titles: list[str], tmp_path: Path
) -> None:
    method = make(config)
    records = [{"images": 4 * n, **method.step(BATCH, STATE)} for n in (1, 2)]
    (tmp_path / "distill-1").mkdir()
    (tmp_path / "distill-1" / "metrics.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in records))
    curves = training_curves(tmp_path)
    assert [curve.title for curve in curves] == titles
    lines = {wanted.title: len(wanted.lines) for wanted in WANTED}
    assert [curve.svg.count("<polyline") for curve in curves] == [lines[title] for title in titles]
    assert any(curve.note for curve in curves) == (titles == ADVERSARIAL)

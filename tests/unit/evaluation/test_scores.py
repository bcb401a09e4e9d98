from __future__ import annotations

import torch

from naruto_add.evaluation.latency import Split
from naruto_add.evaluation.observe import Observed
from naruto_add.evaluation.scores import Score, Scorer, timed


def features(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_does_not_apply_is_none_and_never_zero() -> None:
    scorer = Scorer(resamples=10, seed=0, real=features(9, 1))
    row = Score(**scorer.score(Observed(features=[features(6, 0)]), teacher=None)).to_json()
    known = {name for name, value in row.items() if value is not None}
    assert known == {"n", "fd_real", "fd_real_interval", "kid_real", "kid_real_interval"}
    assert row["n"] == 6
    assert set(Score().to_json().values()) == {None}


def test_every_score_has_its_interval() -> None:
    observed = Observed(
        features=[features(3, 0), features(3, 2)],
        to_teacher=[torch.rand(6, dtype=torch.float64)],
        right=[0.5, 1.0, 0.0, 0.75],
    )
    scorer = Scorer(resamples=50, seed=0, real=features(9, 1))
    row = scorer.score(observed, teacher=features(6, 3), diversity=torch.tensor([0.2, 0.4]))
    for name in ("fd_real", "kid_real", "fd_teacher", "lpips_teacher", "diversity", "prompt_accuracy"):
        low, high = row[f"{name}_interval"]
        assert low <= row[name] <= high
    assert row["prompt_accuracy"] == 0.5625
    assert row == scorer.score(observed, teacher=features(6, 3), diversity=torch.tensor([0.2, 0.4]))


def test_a_founding_row_is_not_compared_with_real_images() -> None:
    scorer = Scorer(resamples=10, seed=0, real=features(9, 1))
    row = scorer.score(Observed(features=[features(6, 0)]), teacher=features(6, 3), real=False)
    assert "fd_real" not in row
    assert "kid_real" not in row
    assert row["fd_teacher"] > 0


def test_a_timed_row_adds_up() -> None:
    row = Score(**timed(Split(0.1, 0.7, 0.2), passes=8))
    assert row.latency_s == 0.1 + 0.7 + 0.2
    assert row.passes == 8
    assert row.n is None

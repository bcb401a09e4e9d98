import math
from pathlib import Path

import pytest

from naruto_add.recipe import check, load
from naruto_add.sweep import space as spaces
from naruto_add.sweep.space import Range, Space

MINI = load("mini")
WRONG = """
distill.distil_weight: {uniform: [1, 5]}
teacher.optim.learning_rate: {loguniform: [1e-5, 1e-3]}
distill.optim.images: {choice: [10, 20]}
distill.r1_gamma: {logunifrom: [1e-6, 1e-4]}
distill.heads_learning_rate: {loguniform: [0, 1e-3]}
distill.adversarial_weight: {uniform: [3, 1]}
distill.weighting: {choice: [exponential, min_snr]}
distill.teacher_guidance: [1, 2]
distill.heads_steps: {choice: []}
"""
RIGHT = """
distill.distill_weight: {loguniform: [1, 100]}
distill.r1_gamma: {choice: [0, 1e-5]}
distill.heads_steps: {uniform: [1, 3]}
distill.optim.learning_rate: {loguniform: [1e-5, 1e-3]}
"""


def file_of(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


def right(folder: Path) -> Space:
    space, problems = spaces.read(file_of(folder, RIGHT), MINI)
    assert space is not None and problems == []
    return space


@pytest.mark.parametrize("name", spaces.names())
def test_what_ships_goes_with_the_recipe_mini(name: str) -> None:
    space, problems = spaces.read(name, MINI)
    assert problems == [] and space is not None
    drawn = space.draw(40, 0)
    assert spaces.crossed(drawn, MINI) == []
    assert len({str(settings) for settings in drawn}) == 40
    assert check(spaces.recipe_of(MINI, drawn[0])) == []


def test_all_mistakes_come_together_with_the_nearest_name(tmp_path: Path) -> None:
    space, problems = spaces.read(file_of(tmp_path, WRONG), MINI)
    assert space is None
    expected = (
        "distill.distil_weight: no such setting; did you mean distill.distill_weight?",
        "teacher.optim.learning_rate is no setting of the distillation",
        "distill.optim.images is the same for all trials",
        "did you mean loguniform?",
        "distill.heads_learning_rate: loguniform takes [low, high], two numbers above 0",
        "distill.adversarial_weight: uniform takes [low, high]",
        "distill.weighting: should be 'exponential', 'sds' or 'nfsd', not 'min_snr'",
        "distill.teacher_guidance: write {KIND: [...]}",
        "distill.heads_steps: a choice of nothing",
    )
    assert len(problems) == len(expected)
    for problem, text in zip(problems, expected, strict=True):
        assert text in problem and "space.yaml" in problem


@pytest.mark.parametrize(
    ("text", "complaint"), [("", "mapping"), ("[1]", "mapping"), ("a: {", "not YAML"), ("{}", "empty")]
)
def test_what_is_no_space_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    space, (problem,) = spaces.read(file_of(tmp_path, text), MINI)
    assert space is None and complaint in problem


def test_a_name_that_does_not_ship_is_told_with_those_that_do() -> None:
    _, (problem,) = spaces.read("weight", MINI)
    assert "did you mean weights?" in problem and "Shipped: near, weighting, weights" in problem


def test_more_trials_begin_with_the_same_ones_and_another_seed_gives_others(tmp_path: Path) -> None:
    space = right(tmp_path)
    assert space.draw(20, 1)[:5] == space.draw(5, 1)
    assert space.draw(5, 1) != space.draw(5, 2)


def test_draws_fill_the_space_evenly_and_stay_in_it(tmp_path: Path) -> None:
    space, count = right(tmp_path), 64
    drawn = space.draw(count, 3)
    for setting, low, high in (("distill.distill_weight", 1, 100), ("distill.optim.learning_rate", 1e-5, 1e-3)):
        quarters = [int(4 * math.log(row[setting] / low) / math.log(high / low)) for row in drawn]
        assert all(12 <= quarters.count(quarter) <= 20 for quarter in range(4))
    assert {row["distill.heads_steps"] for row in drawn} == {1, 2, 3}
    assert [row["distill.r1_gamma"] for row in drawn].count(0) in range(28, 37)


@pytest.mark.parametrize(
    ("kind", "values", "share", "expected"),
    [
        ("uniform", (1.0, 2.0), 0.123456, 1.12),
        ("uniform", (1, 3), 0.999, 3),
        ("uniform", (1, 3), 0.0, 1),
        ("loguniform", (1.0, 100.0), 0.5, 10.0),
        ("loguniform", (1, 100), 0.25, 3),
        ("choice", ("a", "b"), 0.5, "b"),
    ],
)
def test_a_share_of_a_range_is_a_value(kind: str, values: tuple[object, ...], share: float, expected: object) -> None:
    assert Range("distill.x", kind, values).at(share) == expected


def test_settings_that_contradict_each_other_are_found_before_a_trial_runs(tmp_path: Path) -> None:
    text = "distill.weighting: {choice: [nfsd]}\ndistill.teacher_steps: {choice: [2, 4]}"
    space, problems = spaces.read(file_of(tmp_path, text), MINI)
    assert problems == [] and space is not None  # each is fine alone
    (problem,) = spaces.crossed(space.draw(4, 0), MINI)
    assert "set distill.teacher_steps 1" in problem

"""Who takes over from whom and with what: decisions without training."""

from dataclasses import replace

import pytest

from naruto_add.config import OptimConfig
from naruto_add.recipe import check, load
from naruto_add.sweep import population
from naruto_add.sweep.population import CHANGEABLE, Leg, Pbt, beside, even_rungs, exchange, explore, founders, takeovers
from naruto_add.sweep.space import Range, Space, recipe_of
from naruto_add.training.pace import learning_rate

MINI = load("mini")
WEIGHT, RATE, STEPS = "distill.distill_weight", "distill.optim.learning_rate", "distill.heads_steps"
SPACE = Space(
    (
        Range(WEIGHT, "loguniform", (2.5, 40.0)),
        Range(RATE, "loguniform", (1e-5, 1e-3)),
        Range(STEPS, "choice", (1, 2, 3)),
        Range("distill.size", "choice", ("base", "small")),
    )
)
RULES = Pbt(8)
LOG, LINEAR, WHOLE = (Range(WEIGHT, kind, ends) for kind, ends in (
    ("loguniform", (1.0, 100.0)), ("uniform", (0.0, 1.0)), ("uniform", (1, 4))
))  # fmt: skip
CHOICE = Range(STEPS, "choice", (0, 1e-5, 1e-4))
UP, DOWN = 0.1, 0.9


@pytest.mark.parametrize(
    ("total", "batch", "every", "expected"),
    [
        (1800, 8, None, (456, 912, 1368, 1800)),
        (1800, 8, 600, (600, 1200, 1800)),
        (16, 4, 3, (4, 8, 12, 16)),
        (8, 4, 9, (8,)),
    ],
)
def test_rungs_are_evenly_spaced_whole_steps(
    total: int, batch: int, every: int | None, expected: tuple[int, ...]
) -> None:
    assert even_rungs(OptimConfig(images=total, batch_size=batch, learning_rate=1.0), every) == expected


def test_the_worst_quarter_takes_over_from_the_best_and_the_recipe_s_own_settings_never_do() -> None:
    distances = {0: 99.0, 1: 5.0, 2: 98.0, 3: 4.0, 4: 50.0, 5: 51.0, 6: 52.0, 7: 97.0}
    seen = [takeovers(distances, RULES, seed, 8) for seed in range(20)]
    assert all(set(found) == {2} for found in seen)
    assert {found[2] for found in seen} == {1, 3}


def test_those_that_failed_are_replaced_however_many_and_give_to_nobody() -> None:
    distances = {0: 9.0, 1: None, 2: None, 3: None, 4: None, 5: 7.0, 6: None, 7: None}
    found = takeovers(distances, RULES, 0, 8)
    assert set(found) == {1, 2, 3, 4, 6, 7} and set(found.values()) <= {0, 5}
    assert takeovers(dict.fromkeys(range(4), None), RULES, 0, 8) == {}


@pytest.mark.parametrize(("trials", "quantile", "replaced"), [(2, 0.25, 1), (3, 0.5, 1), (4, 0.5, 2), (12, 0.25, 3)])
def test_nobody_both_gives_and_takes(trials: int, quantile: float, replaced: int) -> None:
    distances: dict[int, float | None] = {number: float(number) for number in range(trials)}
    found = takeovers(distances, Pbt(trials, quantile), 0, 8)
    assert set(found) == set(range(trials - replaced, trials))
    assert not set(found) & set(found.values()) and max(found.values()) < replaced


@pytest.mark.parametrize(
    ("each", "value", "up", "down"),
    [
        (LOG, 10.0, 12.5, 8.0),
        (LOG, 90.0, 100.0, 72.0),
        (LINEAR, 0.5, 0.7, 0.3),
        (LINEAR, 0.9, 1.0, 0.7),
        (WHOLE, 1, 2, 1),
        (WHOLE, 3, 4, 2),
        (CHOICE, 1e-5, 1e-4, 0),
        (CHOICE, 0, 1e-5, 0),
    ],
)
def test_a_setting_moves_to_the_next_one_within_its_range(each: Range, value: float, up: float, down: float) -> None:
    assert [beside(each, value, (1.0, where), 0.25) for where in (UP, DOWN)] == [up, down]


def test_a_setting_is_now_and_then_drawn_anew_and_so_is_one_that_is_no_choice() -> None:
    assert beside(LOG, 1.0, (0.2, 0.5), 0.25) == 10.0
    assert beside(CHOICE, 7, (1.0, 0.5), 0.25) == 1e-5


def test_what_is_explored_lies_beside_the_donor_and_what_cannot_change_is_taken_over() -> None:
    settings = {WEIGHT: 10.0, RATE: 1e-4, STEPS: 2, "distill.size": "small"}
    rules = replace(RULES, resample=0.0)
    found = [explore(settings, trial, 8, MINI, SPACE, rules) for trial in range(40)]
    assert {each[WEIGHT] for each in found} == {8.0, 12.5} and {each[STEPS] for each in found} == {1, 3}
    assert {each[RATE] for each in found} == {8e-5, 1.25e-4} and {each["distill.size"] for each in found} == {"small"}
    assert found == [explore(settings, trial, 8, MINI, SPACE, rules) for trial in range(40)]
    assert found != [explore(settings, trial, 16, MINI, SPACE, rules) for trial in range(40)]


def test_no_change_leads_to_settings_that_contradict_each_other() -> None:
    space = Space((Range("distill.weighting", "choice", ("exponential", "nfsd")),
                   Range("distill.teacher_steps", "choice", (1, 4))))  # fmt: skip
    settings = {"distill.weighting": "exponential", "distill.teacher_steps": 4}
    found = [explore(settings, trial, 8, MINI, space, RULES) for trial in range(30)]
    assert all(check(recipe_of(MINI, each)) == [] for each in found)
    assert len({tuple(each.values()) for each in found}) > 1


def test_a_lineage_says_who_trained_what_from_where() -> None:
    lineages = founders([{}, *SPACE.draw(3, 0)], MINI, SPACE)
    assert lineages[0] == (Leg(0, 0, {WEIGHT: 20.0, RATE: 1e-4, STEPS: 1, "distill.size": "base"}),)
    after = exchange(lineages, {0: 3.0, 1: 2.0, 2: 9.0, 3: 4.0}, 456, MINI, SPACE, Pbt(4))
    assert {trial: after[trial] for trial in (0, 1, 3)} == {trial: lineages[trial] for trial in (0, 1, 3)}
    donor, own = after[2]
    assert donor == lineages[1][0] and (own.trial, own.images) == (2, 456) and own.settings != donor.settings
    again = exchange(after, {0: None, 1: 5.0, 2: 1.0, 3: None}, 912, MINI, SPACE, Pbt(4))
    assert set(again) == {1, 2, 3} and again[3][:2] == after[2] and again[3][2].trial == 3


def test_what_can_change_is_a_setting_that_leaves_players_and_schedule_as_they_are() -> None:
    assert not {f"distill.{name}" for name in ("size", "features", "scales", "conditioning", "two_spaces")} & {
        *CHANGEABLE
    }
    optim = MINI.distill.optim
    faster = replace(optim, learning_rate=2 * optim.learning_rate)
    assert learning_rate(faster, 912) == pytest.approx(2 * learning_rate(optim, 912))
    assert all(each.startswith("distill.") for each in CHANGEABLE) and population.changeable(SPACE) == [
        *SPACE.ranges[:3]
    ]

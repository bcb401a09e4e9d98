"""The ablation on the tiny base, in this process: real trainings of a few steps, really scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs.ablation import variants
from jobs.ablation.table import BETTER, WORSE, cell_text, make_row, over_seeds, verdict
from jobs.ablation.variants import ALL, RECIPE, VARIANTS, Variant
from naruto_add import recipe as recipes
from naruto_add.artifact import open_artifact, verify
from tests.conftest import Done

pytestmark = pytest.mark.slow

MINI = recipes.load("mini")
Call = Callable[[Sequence[str | Path]], Done]


@pytest.fixture
def words(tiny_words: list[str], tiny_run: Path) -> list[str]:
    """Two variants on the finished tiny run's teacher."""
    return ["ablate", *tiny_words, "--teacher-run", str(tiny_run), "--variants", "lcm", "--num-images", "4"]


def statuses(out: str) -> list[str]:
    """What the stages said."""
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return [event["status"] for event in events if event.get("event") == "stage"]


def test_two_variants_of_equal_time_and_two_seeds_in_one_table_that_resumes(
    words: list[str], tiny_run: Path, tmp_path: Path, here: Call
) -> None:
    run = tmp_path / "ablate"
    words = [*words, "--run", str(run), "--seeds", "0", "1", "--images", "8", "--equal", "time"]

    done = here(words)

    assert done.returncode == 0, done.stderr
    record = json.loads((run / "ablation.json").read_text())
    recipe, lcm = record["rows"]
    assert [recipe["variant"], lcm["variant"], lcm["beside"], lcm["seeds"]] == ["recipe", "lcm", "recipe", [0, 1]]
    assert list(lcm["scores"]) == ["student@4", "student@1"]
    score = lcm["scores"]["student@4"]["fd_real"]
    assert len(set(score["values"])) == 2, "two seeds give two students"
    assert score["interval"][0] < score["mean"] < score["interval"][1]
    theirs = recipe["scores"]["student@4"]["fd_real"]
    assert score["difference"]["mean"] == pytest.approx(score["mean"] - theirs["mean"])
    assert theirs["difference"] is None and lcm["seconds"]["mean"] > 0
    assert {"teacher@8", "teacher@4", "teacher@1", "floor/real"} <= record["yardsticks"]["rows"].keys()
    assert_equal_time(run, recipe["images"], lcm["images"])
    assert "| lcm |" in (run / "ablation.md").read_text() and (run / "ablation.png").stat().st_size > 10_000
    for kind in ("shards", "teacher"):
        verify(open_artifact(tiny_run / kind, kind))

    again = here(words)

    assert again.returncode == 0 and set(statuses(again.stdout)) == {"current"}
    assert json.loads((run / "ablation.json").read_text()) == record


def assert_equal_time(run: Path, own: int, other: int) -> None:
    """The images are in the inverse proportion of the measured paces, to whole batches of 4."""
    mine, theirs = (
        json.loads((run / "pilots" / name / "pace" / "pace.json").read_text())["seconds_per_image"]
        for name in ("recipe", "lcm")
    )
    assert own == 8 and other == max(1, round(8 * mine / theirs / 4)) * 4
    assert theirs < mine, "no heads, no decoding"


def test_a_collapse_is_a_result_and_the_others_go_on(words: list[str], tmp_path: Path, here: Call) -> None:
    run = tmp_path / "ablate"
    nothing_to_go_back_to = ("--distill.collapse-gap", "0.00001", "--distill.optim.checkpoint-images", "1000")
    done = here([*words, "--run", str(run), "--seeds", "0", *nothing_to_go_back_to])
    assert done.returncode == 0, done.stderr
    record = json.loads((run / "ablation.json").read_text())
    assert [row["variant"] for row in record["rows"]] == ["lcm"]
    assert record["rows"][0]["scores"]["student@1"]["fd_real"]["interval_over"] == "pictures"
    assert [(gone["variant"], gone["seed"]) for gone in record["collapsed"]] == [("recipe", 0)]
    assert "`recipe`, seed 0, has no student: collapse at image" in (run / "ablation.md").read_text()


def test_mistakes_are_told_together_before_anything_starts(words: list[str], tmp_path: Path, here: Call) -> None:
    done = here([*words, "--variants", "lmc", "--run", str(tmp_path / "run"), "--seeds", "1", "1", "--images", "0"])
    assert done.returncode == 2
    assert "--variants lmc: no such variant; did you mean lcm?" in done.stderr
    assert "--seeds 1 1" in done.stderr and "--images 0" in done.stderr and "3 problems" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_teacher_is_named(words: list[str], tmp_path: Path, here: Call) -> None:
    done = here([*words, "--run", str(tmp_path / "run"), "--teacher-run", str(tmp_path / "none")])
    assert done.returncode == 2 and f"{tmp_path / 'none'}" in done.stderr


# Variants are data


@pytest.mark.parametrize("variant", ALL, ids=[variant.name for variant in ALL])
def test_every_variant_is_possible_on_mini_and_changes_something(variant: Variant) -> None:
    assert list(variants.problems([variant.name], MINI)) == []
    assert variants.tells(variant, MINI) == (variant.name != RECIPE)


def test_what_a_variant_is_beside_is_trained_too() -> None:
    assert [variant.name for variant in variants.chosen(["tiny", "lcm"], MINI)] == ["recipe", "surgery", "tiny", "lcm"]
    every = [variant.name for variant in variants.chosen([], MINI)]
    assert set(VARIANTS) - set(every) == {"features-dinov2"}, "it needs weights that no package carries"


def test_a_variant_that_the_recipe_contradicts_is_refused() -> None:
    recipe = recipes.load("mini", {"distill.mismatch_weight": 0.5})
    (problem,) = variants.problems(["told-image"], recipe)
    assert problem.startswith("variant told-image: distill.mismatch_weight needs heads that know the caption")
    assert "told-image" not in [variant.name for variant in variants.chosen([], recipe)]


def test_intervals_in_images_keep_their_share() -> None:
    flags = {"distill.optim.warmup_images": 200, "distill.adversarial_warmup_images": 100}
    recipe = recipes.load("mini", flags)
    distill = variants.trained(recipe, VARIANTS["lcm"], recipe.distill.optim.images // 4, seed=3).distill
    assert (distill.optim.warmup_images, distill.optim.ema_images) == (50, recipe.distill.optim.ema_images // 4)
    assert distill.adversarial_warmup_images == 25


# The table


def cells(**values: Sequence[float]) -> dict[str, dict[int, dict[str, Any]]]:
    """What trainings gave, of one measure at one step count."""

    def found(value: float) -> dict[str, Any]:
        row = {"fd_real": value, "fd_real_interval": (value - 9, value + 9), "prompt_accuracy": None, "diversity": None}
        return {"images": 8, "seconds": 2.0, "unet_parameters": 10**6, "rows": {"student@4": row}}

    return {name: {seed: found(value) for seed, value in enumerate(given)} for name, given in values.items()}


def fd(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The score of a variant's row."""
    return make_row(VARIANTS[name], found, own_judge=False)["scores"]["student@4"]["fd_real"]


def test_the_interval_is_students_over_seeds() -> None:
    low, high = over_seeds([1.0, 2.0, 3.0]) or []
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t(0.975, 2 degrees) x 1 / sqrt(3)
    assert over_seeds([1.0]) is None


def test_differences_are_paired_so_what_seeds_share_does_not_hide_them() -> None:
    found = cells(recipe=[10, 50, 90], lcm=[12, 52.1, 91.9], ladd=[9, 49.1, 88.9], output=[5, 58, 92])
    verdicts = {name: verdict(fd(found, name), more=False) for name in ("lcm", "ladd", "output")}
    assert verdicts == {"lcm": WORSE, "ladd": BETTER, "output": ""}
    assert verdict(fd(found, "lcm"), more=True) == BETTER
    assert fd(found, "lcm")["difference"]["mean"] == pytest.approx(2)


def test_only_seeds_of_both_are_compared_and_one_seed_decides_nothing() -> None:
    found = cells(recipe=[10], lcm=[20, 30])
    assert fd(found, "lcm")["difference"] == {"mean": 10, "interval": None}
    assert verdict(fd(found, "lcm"), more=False) == ""
    assert fd(found, "recipe")["interval"] == [1, 19]
    assert cell_text(fd(found, "recipe"), more=False) == "10 [1, 19]"


def test_what_does_not_apply_is_null() -> None:
    row = make_row(VARIANTS["lcm"], cells(recipe=[1], lcm=[2]), own_judge=True)
    assert row["scores"]["student@4"]["prompt_accuracy"] is None
    assert "not comparable" in row["note"]


def test_heads_that_look_with_the_scores_network_are_marked() -> None:
    assert variants.judges_itself(MINI, VARIANTS["features-lite1"])
    assert not variants.judges_itself(MINI, VARIANTS["recipe"])

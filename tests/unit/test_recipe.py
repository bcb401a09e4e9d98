from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from naruto_add import recipe
from naruto_add.config import Recipe
from naruto_add.errors import UserError


def changed(base: Recipe, **sections: dict[str, object]) -> Recipe:
    """The recipe with some settings of some sections replaced."""
    return replace(base, **{name: replace(getattr(base, name), **values) for name, values in sections.items()})


def test_flags_go_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    values = yaml.safe_load((recipe.RECIPES / "smoke.yaml").read_text())
    values["distill"]["weighting"] = "sds"
    values["distill"]["terminal_share"] = 0.5
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))

    loaded = recipe.load(path, {"distill.terminal_share": ["0.75"]})

    assert loaded.distill.terminal_share == 0.75
    assert loaded.distill.weighting == "sds"
    assert loaded.distill.heads_steps == 1


def test_every_shipped_recipe_is_valid_on_its_own() -> None:
    assert {"mini", "sd15", "sd21", "smoke"} <= set(recipe.names())
    for name in recipe.names():
        assert recipe.check(recipe.load(name)) == []
    for name in ("mini", "sd15", "sd21", "smoke"):
        header = (recipe.RECIPES / f"{name}.yaml").read_text()
        assert "hardware" in header and "time" in header


@pytest.mark.parametrize(
    ("flag", "words", "expected"),
    [
        ("compute.zero_stage", ["3"], 3),
        ("compute.zero_stage", ["None"], None),
        ("export.steps", ["2"], 2),
        ("teacher.base", ["1234"], "1234"),
        ("data.num_images", ["null"], None),
        ("distill.augment", ["False"], False),
        ("distill.optim.learning_rate", ["4e-5"], 4e-5),
        ("distill.optim.betas", ["0", "0.9"], (0.0, 0.9)),
        ("evaluate.student_steps", ["4"], (4,)),
        ("prompts", ["a ninja", "un ninja"], ("a ninja", "un ninja")),
    ],
)
def test_words_of_a_flag_become_what_the_setting_wants(flag: str, words: list[str], expected: object) -> None:
    value: object = recipe.load("smoke", {flag: words})
    for name in flag.split("."):
        value = getattr(value, name)
    assert value == expected


def test_all_mistakes_are_told_at_once_with_the_nearest_valid_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = (recipe.RECIPES / "smoke.yaml").read_text()
    path.write_text(text.replace("size: base", "sise: base").replace("num_heldout: 16", "num_heldout: -16"))
    flags = {"distill.images": ["40"], "evaluate.bootstrap": ["many"], "dta.source": ["x"]}

    with pytest.raises(UserError) as caught:
        recipe.load(path, flags)

    message = str(caught.value)
    assert "5 problems" in message
    assert "--distill.images: no such setting; did you mean teacher.optim.images or distill.optim.images?" in message
    assert f"{path}: distill.sise: no such setting; did you mean distill.size?" in message
    assert "data.num_heldout: should be greater than 0, not -16" in message
    assert "evaluate.bootstrap: should be a valid integer" in message
    assert "--dta.source: no such setting; did you mean data.source?" in message


def test_a_wrong_flag_does_not_hide_other_checks() -> None:
    found, problems = recipe.read("smoke", {"seed": ["-1"], "distill.optim.batch_size": ["7"]})

    assert [p for p in problems if p.startswith("seed:")] == problems
    assert found is not None
    assert "distill.optim.batch_size (7) must be a multiple" in recipe.check(found)[0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"name: [", "not YAML"),
        (b"- a\n- b\n", "a recipe is a mapping"),
        (b"\xff\xfe", "not YAML"),
        (b"", "a recipe is a mapping"),
        (b"name: x\ndata: 3\n", "data"),
        (b"name: x\n", "teacher is missing"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        recipe.load(path)


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(UserError, match="did you mean mini") as caught:
        recipe.load("minni")
    assert "sd15" in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"distill": {"student_timesteps": (999, 499)}}, "must be evenly spaced"),
        ({"distill": {"student_timesteps": (332, 665, 998)}}, "1, 2, 4, 5, 8, 10 of them are possible"),
        ({"evaluate": {"student_steps": (4, 3)}}, "3 steps cannot be spread evenly over the 4"),
        ({"evaluate": {"student_steps": (2, 1)}}, "export.steps .4. must be among evaluate.student_steps"),
        ({"compute": {"launcher": "inline"}}, "set compute.workers 1"),
        ({"distill": {"method": "lcm", "two_spaces": True}}, "two_spaces is an option of the methods add, not of lcm"),
        ({"distill": {"method": "output", "simulated_share": 0.5}}, "simulated_share is an option of .* add and ladd"),
        ({"distill": {"method": "ladd", "scales": (1, 2)}}, "scales is an option of the methods add, not of ladd"),
        ({"distill": {"mismatch_weight": 1.0, "conditioning": "image"}}, "set distill.conditioning text or both"),
        ({"distill": {"synthetic_steps": 25}}, "set distill.real_images decoded"),
        ({"distill": {"weighting": "nfsd", "teacher_steps": 4}}, "set distill.teacher_steps 1"),
        ({"compute": {"workers": 3, "finetune_workers": None}}, "teacher.optim.batch_size .8. must be a multiple"),
    ],
)
def test_settings_that_do_not_fit_each_other(sections: dict[str, dict[str, object]], complaint: str) -> None:
    base = recipe.load("smoke")
    assert recipe.check(base) == []
    problems = recipe.check(changed(base, **sections))
    with pytest.raises(UserError, match=complaint):
        raise UserError("\n".join(problems))


def test_all_problems_of_a_method_are_told_together() -> None:
    wrong = {"method": "lcm", "perceptual_weight": 1.0, "heads_renewal": 0.1, "mismatch_weight": 1.0}
    problems = recipe.check(changed(recipe.load("smoke"), distill={**wrong, "student_timesteps": (999, 499)}))
    assert len(problems) == 5


def test_empty_lists_are_told_together_with_all_else() -> None:
    empty = {"student_steps": (), "teacher_steps": (), "base_steps": ()}
    base = replace(recipe.load("smoke"), prompts=())
    problems = recipe.check(changed(base, evaluate=empty, compute={"workers": 3, "finetune_workers": None}))
    for name in ("evaluate.student_steps", "evaluate.teacher_steps", "evaluate.base_steps", "prompts"):
        assert f"{name} is empty: give at least one." in problems
    assert len(problems) == 6 and "teacher.optim.batch_size (8) must be a multiple" in " ".join(problems)


def test_a_recipe_is_varied_setting_by_setting() -> None:
    smoke = recipe.load("smoke")
    varied, problems = recipe.varied(smoke, {"distill.size": "tiny", "distill.optim.images": 24})
    assert varied is not None and problems == []
    assert (varied.distill.size, varied.distill.optim.images, smoke.distill.size) == ("tiny", 24, "base")
    assert recipe.varied(smoke, {}) == (smoke, [])


def test_variations_that_cannot_be_are_told() -> None:
    smoke = recipe.load("smoke")
    assert "did you mean distill.size?" in recipe.varied(smoke, {"distill.siz": "tiny"})[1][0]
    assert recipe.varied(smoke, {"distill.size": "huge"})[0] is None
    contradiction, problems = recipe.varied(smoke, {"distill.method": "lcm", "distill.scales": (1, 2)})
    assert contradiction is not None and "distill.scales is an option of the methods" in problems[0]


@pytest.mark.parametrize("method", ["add", "ladd", "lcm", "output"])
def test_every_method_is_valid_with_the_defaults(method: str) -> None:
    assert recipe.check(changed(recipe.load("smoke"), distill={"method": method})) == []


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"distill.method: should be 'add', 'ladd', 'lcm' or 'output', not 'gan'"):
        recipe.load("smoke", {"distill.method": ["gan"]})


def test_scales_are_read_from_words() -> None:
    assert recipe.load("smoke", {"distill.scales": ["1", "2"]}).distill.scales == (1, 2)


def test_repeating_the_teachers_first_guess_is_a_warning() -> None:
    blurred = changed(recipe.load("smoke"), distill={"method": "output"})
    assert any("blurred first guess" in warning for warning in recipe.warnings(blurred))


def test_fine_tuning_may_have_other_workers_than_distillation() -> None:
    one = changed(recipe.load("mini"), compute={"workers": 4, "finetune_workers": 1})
    assert one.compute.finetuning.workers == 1 and recipe.check(one) == []
    odd = changed(recipe.load("mini"), compute={"finetune_workers": 5})
    assert recipe.check(odd) == [
        "teacher.optim.batch_size (16) must be a multiple of compute.finetune_workers x teacher.optim.accumulation "
        "(5 x 1)."
    ]


def test_more_threads_than_cores_is_a_warning() -> None:
    crowded = changed(recipe.load("smoke"), compute={"threads_per_worker": 1 + recipe.cores()})
    assert "get in each other's way" in recipe.warnings(crowded)[0]


def test_public_settings_are_few_and_frozen() -> None:
    # A new setting is a promise: add it here on purpose.
    assert len(recipe.settings()) == 115
    with pytest.raises(AttributeError):
        recipe.load("smoke").distill.size = "tiny"  # type: ignore[misc]

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.outcome import hand_over
from jobs.sweep import Sweep
from naruto_add.artifact import Artifact, Manifest
from naruto_add.cli import main
from naruto_add.config import Recipe
from naruto_add.recipe import load
from naruto_add.sweep import space as spaces
from naruto_add.sweep.population import Leg, Pbt
from naruto_add.sweep.rungs import Halving
from naruto_add.training import checkpoint
from naruto_add.training.state import TrainState
from naruto_add.training.world import World
from tests.conftest import Done
from tests.unit.training.toys import Copycat, optim_of

Call = Callable[[Sequence[str | Path]], Done]


def sweep_of(run: Path, recipe: Recipe, space: str = "weights") -> Sweep:
    found, problems = spaces.read(space, recipe)
    assert found is not None, problems
    parents = [Artifact(run / kind, Manifest(kind, {}, {})) for kind in ("teacher", "shards")]
    return Sweep(recipe, run, found, (8, 16), Halving(), *parents)


def test_all_mistakes_come_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("distill.r1gamma: {uniform: [0, 1]}\ndistill.heads_steps: {choice: [0]}\n")
    wrong = ["--space", str(space), "--trials", "1", "--reduction", "1", "--parallel", "99", "--rung-images", "0"]
    wrong += ["--distill.siz", "tiny"]
    assert main(["tune", "--recipe", "mini", "--run", str(tmp_path / "run"), *wrong]) == 2
    told = capsys.readouterr().err
    for complaint in (
        "distill.r1gamma: no such setting; did you mean distill.r1_gamma?",
        "distill.heads_steps: should be greater than 0",
        "--trials must be at least 2, not 1",
        "--reduction must be at least 2, not 1",
        "did you mean distill.size?",
        "99 trials at once",
        "--rung-images must be at least 1, not 0",
    ):
        assert complaint in told
    assert not (tmp_path / "run").exists()


def test_each_scheduler_refuses_the_other_s_settings_and_what_could_never_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("distill.size: {choice: [base, small]}\n")
    words = ["tune", "--recipe", "mini", "--run", str(tmp_path / "run"), "--confirm-seeds", "-1"]
    assert main([*words, "--quantile", "0.7", "--resample", "2"]) == 2
    told = capsys.readouterr().err
    for complaint in (
        "--quantile and --resample: only --scheduler pbt asks for that, not asha",
        "--quantile must be above 0 and at most 0.5, not 0.7",
        "--resample must be from 0 to 1, not 2",
        "--confirm-seeds must be at least 0, not -1",
    ):
        assert complaint in told
    words = [*words[:-2], "--scheduler", "pbt", "--space", str(space), "--rung-images", "9000"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "pbt changes settings in mid-training, and none of these can be" in told
    assert "--rung-images 9000: pbt needs a rung before the end" in told
    assert main([*words, "--reduction", "3"]) == 2
    assert "--reduction: only --scheduler asha asks for that" in capsys.readouterr().err


def test_a_population_has_folders_of_its_own_and_its_size_decides(tmp_path: Path) -> None:
    alone = sweep_of(tmp_path, load("smoke"))
    few, more = (replace(alone, search=Pbt(count)) for count in (4, 8))
    assert len({alone.work, few.work, more.work, replace(alone, search=Halving(3)).work}) == 4
    lineage = (Leg(0, 0, {}),)
    longer = (*lineage, Leg(1, 8, {"distill.heads_steps": 2}))
    folders = [each.member(0, way, 16).work for each in (few, more) for way in (lineage, longer)]
    assert len({*folders, alone.trials(2)[0].work}) == 5
    member = few.member(1, longer, 16)
    assert (member.rungs, member.recipe.distill.heads_steps) == ((16,), 2)


def test_a_run_without_teacher_is_told_what_to_do_first(tmp_path: Path, here: Call) -> None:
    done = here(["tune", "--recipe", "smoke", "--run", tmp_path / "run"])
    assert done.returncode == 2 and "no teacher there" in done.stderr


def test_more_trials_go_on_with_the_same_sweep_and_other_students_are_others(tmp_path: Path) -> None:
    smoke = load("smoke")
    sweep, other = sweep_of(tmp_path, smoke), sweep_of(tmp_path, smoke, "weighting")
    few, more = sweep.trials(3), sweep.trials(6)
    assert few == more[:3] and few[0].settings == {}
    assert len({trial.work for trial in more}) == 6
    assert other.work != sweep.work and other.trials(2)[0].work == few[0].work
    assert few[0].work != sweep.student_work(smoke)


def test_what_the_best_trial_has_learnt_goes_to_the_distill_stage_unless_it_has_its_own(tmp_path: Path) -> None:
    trial, distill = tmp_path / "trial", tmp_path / "distill"
    method, state = Copycat(optim_of()), TrainState(0, 4, images=16)
    for images in (8, 16):
        checkpoint.save(trial / "checkpoints", replace(state, images=images), method.players.values(), World())
    (trial / "metrics.jsonl").write_text('{"images": 16}\n')
    hand_over(trial, distill)
    assert checkpoint.load(distill / "checkpoints", method.players.values(), World()) == state
    assert len(checkpoint.checkpoints(distill / "checkpoints")) == 1
    (distill / "metrics.jsonl").write_text("mine\n")
    hand_over(trial, distill)
    assert (distill / "metrics.jsonl").read_text() == "mine\n"

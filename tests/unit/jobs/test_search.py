"""A population that really learns, in this process: killed, gone on with, and what comes of it. No Ray is started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import outcome, search
from jobs.outcome import BRED, Say
from jobs.sweep import Sweep
from naruto_add import artifact
from naruto_add.config import Recipe
from naruto_add.errors import UserError
from naruto_add.models.load import load_components
from naruto_add.on_ray.tune import reach
from naruto_add.recipe import load
from naruto_add.sweep.ledger import Entry, Ledger
from naruto_add.sweep.population import Pbt, exchange
from naruto_add.sweep.space import Range, Space
from naruto_add.sweep.trials import CHECKPOINTS, Trial, adopt, has_lost_its_start, scores
from naruto_add.training import checkpoint
from tests.folders import tiny_base, tiny_shards

pytestmark = pytest.mark.slow

RATE = "distill.optim.learning_rate"
SPACE = Space((Range(RATE, "loguniform", (1e-5, 1e-1)), Range("distill.heads_steps", "choice", (1, 2))))
RULES = Pbt(4, quantile=0.5, resample=0.0)
RUNGS = (4, 8)


class Killed(Exception):
    """What stands for the end of the driver's process."""


class Trainer:
    """Trains as a trial of Tune's would, and is killed before the training with a number."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.kill_at = kill_at
        self.trained: list[tuple[int, int]] = []

    def __call__(self, trials: Sequence[Trial], ledger: Ledger, say: Say) -> None:
        for trial in trials:
            for images in trial.rungs:
                if len(self.trained) == self.kill_at:
                    raise Killed
                result = reach(trial, images)
                assert "mistake" not in result, result
                self.trained.append((trial.number, images))
                say(ledger.judge(trial.number, images, scores(result), result["seconds"], result.get("failed"))[0])


def recipe() -> Recipe:
    smoke = load("smoke")
    optim = replace(smoke.distill.optim, images=8, learning_rate=1e-3)
    tiny = replace(smoke.distill, head_start=None, measure_pictures=4, survey_pictures=6, optim=optim)
    inline = replace(smoke.compute, launcher="inline", workers=1, zero_stage=None)
    return replace(smoke, distill=tiny, compute=inline)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    run = tmp_path_factory.mktemp("population")
    teacher = artifact.build(run / "teacher", kind="teacher", config={}, parents={}, make=tiny_base)
    shards = artifact.build(run / "shards", kind="shards", config={}, parents={}, make=fill)
    return Sweep(recipe(), run, SPACE, RUNGS, RULES, teacher, shards)


def fill(folder: Path) -> None:
    folder.rmdir()
    tiny_shards(folder)


@pytest.fixture(scope="module")
def bred(sweep: Sweep) -> tuple[list[Trial], list[Entry]]:
    """A population whose driver was killed twice: before the first rung was reached by all, and after it."""
    trained = []
    for kill_at in (2, 3, None):
        trainer = Trainer(kill_at)
        with suppress(Killed):
            trials = search.search(sweep, 4, sweep.ledger, trainer)
        trained += trainer.trained
    assert trained == [(trial, images) for images in RUNGS for trial in range(4)]  # nothing was trained twice
    return trials, sweep.ledger.entries


def test_who_takes_over_follows_from_the_ledger_and_learns_on_from_the_donor_s_very_bits(
    sweep: Sweep, bred: tuple[list[Trial], list[Entry]]
) -> None:
    trials, entries = bred
    distances = {entry.trial: entry.distance for entry in entries if entry.images == 4}
    founders = search.founders(sweep.drawn(4), sweep.recipe, SPACE)
    expected = exchange(founders, distances, 4, sweep.recipe, SPACE, RULES)
    assert [trial.lineage for trial in trials] == [expected[number] for number in range(4)]
    taken = [trial for trial in trials if len(trial.lineage) == 2]
    assert taken and 0 not in [trial.number for trial in taken]
    for trial in taken:
        donor = trials[trial.lineage[0].trial]
        state, theirs = (each.work / CHECKPOINTS / "images-000000000004" for each in (trial, donor))
        assert (state / "manifest.json").read_bytes() == (theirs / "manifest.json").read_bytes()
        assert checkpoint.defect(state) is None and checkpoint.defect(theirs) is None
        lines = [[json.loads(line) for line in (each.work / "metrics.jsonl").read_text().splitlines()]
                 for each in (trial, donor)]  # fmt: skip
        assert lines[0][0] == lines[1][0] and lines[0][1]["images"] == lines[1][1]["images"] == 8
        assert lines[0][1]["lr"] == pytest.approx(0.1 * trial.value(RATE))  # the end of its own schedule


def test_the_results_say_which_settings_from_where_on_and_the_bred_student_is_kept(
    sweep: Sweep, bred: tuple[list[Trial], list[Entry]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials, _ = bred
    outcome.write(sweep, trials, sweep.ledger, tmp_path, 1, Trainer())
    found = json.loads((tmp_path / "sweep.json").read_text())
    rows = {row["trial"]: row for row in found["trials"]}
    child = next(trial for trial in trials if len(trial.lineage) == 2)
    ways = [(leg["trial"], leg["images"], leg["settings"][RATE]) for leg in rows[child.number]["lineage"]]
    donor = trials[child.lineage[0].trial]
    assert ways == [(donor.number, 0, donor.value(RATE)), (child.number, 4, child.value(RATE))]
    assert rows[child.number]["rungs"]["4"] == rows[donor.number]["rungs"]["4"]
    assert f"{donor.number}@0 > {child.number}@4" in (tmp_path / "trials.csv").read_text()
    assert (tmp_path / "lineage.png").stat().st_size > 5000 and (tmp_path / "parallel.png").exists()
    best = found["trials"][0]
    assert load(tmp_path / "best.yaml").distill.optim.learning_rate == best["settings"][RATE]
    assert found["verdict"]["n"] == best["surveyed"] == 6 and found["verdict"]["best"] == best["trial"]
    assert found["confirmation"]["seeds"] == [1] and len(found["confirmation"]["differences"]) == 1
    assert found["confirmation"]["interval"] is None and "anew, seed 1" not in capsys.readouterr().err

    student = outcome.keep_bred(sweep, child, replace(child.recipe))
    assert student.path == sweep.run / BRED / "student" and load_components(student.path).unet is not None
    assert student.manifest.config["lineage"][1]["trial"] == child.number
    assert artifact.open_artifact(sweep.run / BRED / "teacher", "teacher").digest == sweep.teacher.digest


def test_a_damaged_state_is_neither_taken_over_nor_gone_on_with(
    bred: tuple[list[Trial], list[Entry]], tmp_path: Path
) -> None:
    trials, _ = bred
    child = next(trial for trial in trials if len(trial.lineage) == 2)
    adopt(child.work, tmp_path / "copy", 4)
    copy = replace(child, work=tmp_path / "copy")
    assert not has_lost_its_start(copy)
    file = copy.work / CHECKPOINTS / "images-000000000004" / "rank-00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert has_lost_its_start(copy)
    assert "damaged or gone" in reach(replace(copy, rungs=(12,)), 12)["mistake"]
    with pytest.raises(UserError, match=r"rank-00000\.safetensors changed"):
        adopt(copy.work, tmp_path / "second", 4)
    assert not (tmp_path / "second").exists()

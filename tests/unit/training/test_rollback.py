"""A collapse is caught, rolled back and told."""

import json
from pathlib import Path

import pytest

from naruto_add.training import checkpoint, rollback
from naruto_add.training.engine import choose_engine
from naruto_add.training.guards import TrainingStopped
from naruto_add.training.loop import train
from naruto_add.training.state import TrainState
from naruto_add.training.telemetry import Reporter, file_sinks
from naruto_add.training.world import World
from tests.unit.training.test_loop import FeedUntil, Killed
from tests.unit.training.toys import Copycat, ToyFeed, assert_equal, everything, optim_of

OPTIM = optim_of(checkpoint_images=4)
GAP = 15.0


def collapsing(cured_by: int) -> Copycat:
    """Collapses at image 8 (two steps of gap 100 make a running gap of 19), until rolled back often enough."""
    method = Copycat(OPTIM)
    method.gap, method.cured_by = 100.0, cured_by
    return method


def run(folder: Path, method: Copycat, feed: ToyFeed | None = None) -> TrainState:
    return train(method, feed or ToyFeed(), OPTIM, folder, Reporter(file_sinks(folder)), 5, World(), (), GAP)


def collapses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / rollback.COLLAPSES).read_text().splitlines()]


def test_a_collapse_goes_back_to_the_last_checkpoint_and_on(tmp_path: Path) -> None:
    method = collapsing(cured_by=1)
    state = run(tmp_path, method)
    assert state.images == 24 and state.rollbacks == 1
    (line,) = collapses(tmp_path)
    assert (line["images"], line["back_to"], line["rollbacks"]) == (8, 4, 0)
    assert line["running_gap"] == pytest.approx(19) and line["logit_gap"] == 100 and "loss" in line
    records = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["images"] for r in records] == [4, 8, 12, 16, 20, 24]
    assert records[1]["logit_gap"] == 0  # that of the second try


def test_going_back_gives_the_weights_of_the_checkpoint(tmp_path: Path) -> None:
    """Nothing in the toy depends on the rollback but its gap, so the end is that of an undisturbed run."""
    undisturbed = Copycat(OPTIM)
    train(undisturbed, ToyFeed(), OPTIM, tmp_path / "undisturbed", Reporter(), 5, World())
    collapsed = collapsing(cured_by=1)
    run(tmp_path / "collapsed", collapsed)
    assert_equal(everything(collapsed), everything(undisturbed))


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_zero_engine_goes_back_too(tmp_path: Path, stage: int) -> None:
    methods = [Copycat(OPTIM, choose_engine(stage)) for _ in range(2)]
    methods[1].gap, methods[1].cured_by = 100.0, 1
    for name, method in zip(("undisturbed", "collapsed"), methods, strict=True):
        state = run(tmp_path / name, method)
    assert state.rollbacks == 1
    assert_equal(everything(methods[1]), everything(methods[0]))


def test_pictures_of_the_lost_stretch_are_drawn_again(tmp_path: Path) -> None:
    method = Copycat(optim_of(checkpoint_images=8, preview_images=4))
    method.gap, method.cured_by = 45.0, 1  # collapses at image 16
    train(method, ToyFeed(), method.optim, tmp_path, Reporter(), 5, World(), ["a ninja"], GAP)
    assert sorted(path.name for path in (tmp_path / "previews").iterdir()) == [
        f"images-{images:012d}.png" for images in range(0, 25, 4)
    ]
    assert len(method.previews) == 4 + 4  # 0, 4, 8, 12 before it, 12, 16, 20, 24 after


@pytest.mark.parametrize("step", [1, 2, 4])
def test_killed_after_a_rollback_the_same_command_goes_on_calmer(tmp_path: Path, step: int) -> None:
    wanted = collapsing(cured_by=1)
    run(tmp_path / "wanted", wanted)
    found = collapsing(cured_by=1)
    with pytest.raises(Killed):
        run(tmp_path / "killed", collapsing(cured_by=1), FeedUntil(step) if step != 1 else KilledAfterRollback())
    state = run(tmp_path / "killed", found)
    assert state.rollbacks == 1 and len(collapses(tmp_path / "killed")) == 1
    assert_equal(everything(found), everything(wanted))


class KilledAfterRollback(ToyFeed):
    """Ends the world when the feed is opened for the second time."""

    opened = 0

    def batches(self, start: int, stop: int):
        self.opened += 1
        if self.opened == 2:
            raise Killed
        yield from super().batches(start, stop)


def test_after_some_rollbacks_the_run_stops_and_tells_the_cure(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match=r"collapse at image 20.*3 rollbacks have not helped") as caught:
        run(tmp_path, collapsing(cured_by=99))
    assert "heads_learning_rate" in str(caught.value)
    assert [line["back_to"] for line in collapses(tmp_path)] == [4, 8, 12, None]


def test_without_a_checkpoint_the_run_stops(tmp_path: Path) -> None:
    method = Copycat(optim_of(checkpoint_images=100))
    method.gap = 100.0
    with pytest.raises(TrainingStopped, match="No checkpoint to go back to"):
        train(method, ToyFeed(), method.optim, tmp_path, Reporter(), 5, World(), (), GAP)


def test_a_broken_checkpoint_is_passed_over_in_a_rollback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = Copycat(optim_of(checkpoint_images=4))
    method.gap, method.cured_by = 45.0, 1  # collapses at image 16
    commit = checkpoint.commit

    def commit_and_spoil(made: checkpoint.Draft, keep: int = checkpoint.KEEP) -> None:
        commit(made, keep)
        if made.state.images == 12:
            (made.path / checkpoint.STATE).write_text("{}")

    monkeypatch.setattr(checkpoint, "commit", commit_and_spoil)
    state = run(tmp_path, method)
    assert state.images == 24 and [line["back_to"] for line in collapses(tmp_path)] == [8]

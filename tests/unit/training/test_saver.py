import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from naruto_add.training import checkpoint
from naruto_add.training.checkpoint import Draft
from naruto_add.training.guards import TrainingStopped
from naruto_add.training.saver import Saver
from naruto_add.training.state import TrainState
from naruto_add.training.world import World
from tests.unit.training.test_checkpoint import load, trained
from tests.unit.training.toys import Copycat, assert_equal, batch_at, everything


class Gate:
    """Holds the writing of tensors up until it is opened; `first` is done then, before they are written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.first = threading.Event(), list[Callable[[Draft], object]]()
        self.write = checkpoint.write
        monkeypatch.setattr(checkpoint, "write", self.pass_through)

    def pass_through(self, made: Draft) -> None:
        assert self.open.wait(20)
        for each in self.first:
            each(made)
        self.write(made)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def state_at(images: int) -> TrainState:
    return TrainState(0, 4, images)


def step(method: Copycat, images: int) -> None:
    method.step(batch_at(list(range(images, images + 4))), state_at(images))


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, gate: Gate) -> None:
    method = trained(1)
    wanted = {name: tensor.clone() for name, tensor in everything(method).items()}
    with Saver(tmp_path, World()) as saver:
        saver.save(state_at(4), method.players.values())
        for images in (4, 8, 12):
            step(method, images)
            saver.advance()
        assert checkpoint.newest(tmp_path) is None
        gate.open.set()
    found, state = load(tmp_path)
    assert state == state_at(4)
    assert_equal(everything(found), wanted)


def test_it_becomes_whole_by_asking_after_steps(tmp_path: Path, gate: Gate) -> None:
    gate.open.set()
    with Saver(tmp_path, World()) as saver:
        saver.save(state_at(4), trained(1).players.values())
        for _ in range(2000):
            saver.advance()
            if checkpoint.newest(tmp_path):
                break
            threading.Event().wait(0.01)
        assert checkpoint.newest(tmp_path) == tmp_path / "images-000000000004"


def test_the_next_one_waits_for_the_one_before(tmp_path: Path) -> None:
    with Saver(tmp_path, World()) as saver:
        for images in (4, 8, 12):
            saver.save(state_at(images), trained(1).players.values())
            written = [checkpoint.images_of(path) for path in checkpoint.checkpoints(tmp_path)]
            assert set(written) >= set(range(4, images, 4)[-2:])
    assert [checkpoint.images_of(path) for path in checkpoint.checkpoints(tmp_path)] == [12, 8]


def test_a_stop_leaves_it_whole_and_says_what_it_said(tmp_path: Path, gate: Gate) -> None:
    with pytest.raises(TrainingStopped, match="not finite"), Saver(tmp_path, World()) as saver:
        saver.save(state_at(4), trained(1).players.values())
        gate.open.set()
        raise TrainingStopped("not finite")
    assert load(tmp_path)[1] == state_at(4)


def test_what_befalls_the_thread_is_raised_between_steps_and_once(tmp_path: Path, gate: Gate) -> None:
    gate.first.append(lambda made: shutil.rmtree(made.partial))
    with Saver(tmp_path, World()) as saver:
        saver.save(state_at(4), trained(1).players.values())
        gate.open.set()
        with pytest.raises(Exception, match="No such file"):
            saver.finish()
        gate.first.clear()
        saver.save(state_at(8), trained(2).players.values())
    assert checkpoint.checkpoints(tmp_path) == [tmp_path / "images-000000000008"]


def test_an_error_of_training_is_not_hidden_by_one_of_writing(
    tmp_path: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    gate.first.append(lambda made: shutil.rmtree(made.partial))
    with pytest.raises(ZeroDivisionError), Saver(tmp_path, World()) as saver:
        saver.save(state_at(4), trained(1).players.values())
        gate.open.set()
        raise ZeroDivisionError
    assert "could not be written either" in caplog.text

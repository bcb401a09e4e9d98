import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from naruto_add.data.batch import Batch
from naruto_add.training import checkpoint
from naruto_add.training.guards import STOP, TrainingStopped
from naruto_add.training.loop import train
from naruto_add.training.state import TrainState
from naruto_add.training.telemetry import Reporter, file_sinks
from naruto_add.training.world import World
from tests.alone import in_own_process
from tests.unit.training.toys import Copycat, ToyFeed, assert_equal, everything, optim_of

PROMPTS = ("a ninja", "un ninja")
STEPS = 6


class Killed(BaseException):
    """The process dies here."""


class FeedUntil(ToyFeed):
    """A feed that ends the world before it gives the batch number `deaths`, or does `act` there and goes on."""

    def __init__(self, number: int, act: object = None) -> None:
        super().__init__()
        self.number = number
        self.act = act

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        for batch in super().batches(start, stop):
            if batch.positions[0] // 4 == self.number:
                if not callable(self.act):
                    raise Killed
                self.act()
            yield batch


def run(folder: Path, method: Copycat, feed: ToyFeed, gap: float = 15.0) -> TrainState:
    return train(method, feed, method.optim, folder, Reporter(), 5, World(), PROMPTS, gap)


def images_in(folder: Path) -> list[int]:
    return [checkpoint.images_of(path) for path in checkpoint.checkpoints(folder / "checkpoints")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Copycat:
    method = Copycat(optim_of())
    run(tmp_path_factory.mktemp("undisturbed"), method, ToyFeed())
    return method


@pytest.mark.parametrize("step", range(1, STEPS))
@pytest.mark.parametrize("checkpoint_images", [4, 8])
def test_killed_after_any_step_and_resumed_it_ends_with_the_same_bits(
    tmp_path: Path, undisturbed: Copycat, step: int, checkpoint_images: int
) -> None:
    optim = optim_of(checkpoint_images=checkpoint_images)
    with pytest.raises(Killed):
        run(tmp_path, Copycat(optim), FeedUntil(step))
    resumed = Copycat(optim)
    state = run(tmp_path, resumed, ToyFeed())
    assert state.images == 24
    assert_equal(everything(resumed), everything(undisturbed))


def test_training_again_does_nothing_more(tmp_path: Path, undisturbed: Copycat) -> None:
    run(tmp_path, Copycat(optim_of()), ToyFeed())
    again = Copycat(optim_of())
    assert run(tmp_path, again, FeedUntil(0)).images == 24
    assert_equal(everything(again), everything(undisturbed))


def test_sigterm_finishes_the_step_saves_and_says_so(tmp_path: Path, undisturbed: Copycat) -> None:
    if in_own_process(__file__, "test_sigterm_finishes_the_step_saves_and_says_so"):
        return
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingStopped, match="stopped on request at image 12"):
        run(tmp_path, Copycat(optim_of()), FeedUntil(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert images_in(tmp_path) == [12, 8]
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = Copycat(optim_of())
    run(tmp_path, resumed, ToyFeed())
    assert_equal(everything(resumed), everything(undisturbed))


def test_the_stop_file_does_the_same(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="image 4"):
        run(tmp_path, Copycat(optim_of()), FeedUntil(0, (tmp_path / STOP).touch))
    assert images_in(tmp_path) == [4]


def test_a_request_at_the_last_step_is_a_finished_run(tmp_path: Path) -> None:
    state = run(tmp_path, Copycat(optim_of()), FeedUntil(STEPS - 1, (tmp_path / STOP).touch))
    assert state.images == 24


def test_previews_are_drawn_from_image_zero_on_and_not_twice(tmp_path: Path) -> None:
    first = Copycat(optim_of())
    with pytest.raises(Killed):
        run(tmp_path, first, FeedUntil(3))
    names = sorted(p.name for p in (tmp_path / "previews").iterdir())
    assert names == ["images-000000000000.png", "images-000000000008.png"]
    resumed = Copycat(optim_of())
    run(tmp_path, resumed, ToyFeed())
    assert len(first.previews) + len(resumed.previews) == 4  # 0, 8, 16, 24


def test_a_collapse_stops_with_the_reason_and_the_cure(tmp_path: Path) -> None:
    method = Copycat(optim_of())
    method.gap = 100.0
    with pytest.raises(TrainingStopped, match=r"collapse at image 8.*gap of 19\.0 \(limit 15") as caught:
        run(tmp_path, method, ToyFeed())
    assert "heads_learning_rate" in str(caught.value)


def test_a_passing_gap_does_not_stop(tmp_path: Path) -> None:
    method = Copycat(optim_of())
    method.gap = 14.0
    assert run(tmp_path, method, ToyFeed()).images == 24


def test_bad_numbers_stop_and_name_the_samples(tmp_path: Path) -> None:
    class Poisoned(ToyFeed):
        def batches(self, start: int, stop: int) -> Iterator[Batch]:
            for batch in super().batches(start, stop):
                if batch.positions[0] == 12:
                    batch.pooled[1] = float("nan")
                yield batch

    method = Copycat(optim_of())
    with pytest.raises(TrainingStopped, match=r"not finite at image 12, in the samples \[2, 3, 4, 5\]"):
        run(tmp_path, method, Poisoned())
    assert images_in(tmp_path) == [8]


def test_metrics_have_one_line_a_step_also_after_a_resume(tmp_path: Path) -> None:
    def part(feed: ToyFeed) -> None:
        optim = optim_of(checkpoint_images=8)
        train(Copycat(optim), feed, optim, tmp_path, Reporter(file_sinks(tmp_path)), 5, World())

    with pytest.raises(Killed):
        part(FeedUntil(3))  # step 3 is logged but lost: the checkpoint is of image 8
    part(ToyFeed())
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["images"] for r in records] == [4, 8, 12, 16, 20, 24]
    assert {"loss", "grad_norm", "images_per_s", "wait_share", "peak_rss_mb", "step"} <= records[0].keys()
    assert list((tmp_path / "tensorboard").glob("events*"))


class Counting:
    """A probe that numbers its measurements."""

    every = 8

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def measure(self, finished: bool) -> dict[str, float]:
        self.asked.append(finished)
        return {"fd_real": float(len(self.asked))}


def test_paused_and_called_again_it_ends_with_the_same_bits(tmp_path: Path, undisturbed: Copycat) -> None:
    for until in (8, 16, None):
        method = Copycat(optim_of(checkpoint_images=24))
        state = train(method, ToyFeed(), method.optim, tmp_path, Reporter(), 5, World(), PROMPTS, 15.0, until)
        assert state.images == (until or 24)
    assert_equal(everything(method), everything(undisturbed))


def test_a_probe_is_asked_now_and_then_and_at_every_pause_and_its_numbers_are_kept(tmp_path: Path) -> None:
    probe = Counting()
    for until in (12, None):
        method = Copycat(optim_of())
        reporter = Reporter(file_sinks(tmp_path))
        train(method, ToyFeed(), method.optim, tmp_path, reporter, 5, World(), PROMPTS, 15.0, until, probe)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    measured = {record["images"]: record["fd_real"] for record in records if "fd_real" in record}
    assert measured == {8: 1.0, 12: 2.0, 16: 3.0, 24: 4.0}
    assert probe.asked == [False, False, False, True]

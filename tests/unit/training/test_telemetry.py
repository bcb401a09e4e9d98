import io
import json
import time
from pathlib import Path

import pytest
from PIL import Image

from naruto_add.training import previews, telemetry
from naruto_add.training.state import TrainState
from naruto_add.training.telemetry import Follower, JsonLines, Lines, Record, Reporter, last_record, summary
from tests.unit.training.toys import Copycat, optim_of


class Kept:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.opened: tuple[int, int] | None = None
        self.closed = False

    def open(self, images: int, total: int) -> None:
        self.opened = images, total

    def record(self, record: Record) -> None:
        self.records.append(record)

    def close(self) -> None:
        self.closed = True


def test_a_record_tells_pace_and_wait() -> None:
    sink = Kept()
    reporter = Reporter([sink])
    with reporter.started(8, 24):
        for _ in reporter.waited(slow(2, 0.03)):
            time.sleep(0.01)
            reporter.log(TrainState(0, 4, 12), {"loss": 1.5})
    assert sink.opened == (8, 24) and sink.closed
    first = sink.records[0]
    assert first["images"] == 12 and first["step"] == 3 and first["total_images"] == 24 and first["loss"] == 1.5
    assert 0.4 < first["wait_share"] < 0.95
    assert first["images_per_s"] == pytest.approx(4 / first["seconds"], rel=0.01)
    assert first["peak_rss_mb"] > 10


def slow(count: int, seconds: float):
    for number in range(count):
        time.sleep(seconds)
        yield number


def test_sinks_are_closed_when_training_fails() -> None:
    sink = Kept()
    with pytest.raises(ZeroDivisionError), Reporter([sink]).started(0, 8):
        raise ZeroDivisionError
    assert sink.closed


def test_lines_past_the_point_of_resumption_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"images": 4}\n{"images": 8}\n{"images": 12}\n{"ima')
    sink = JsonLines(path)
    sink.open(8, 24)
    sink.record({"images": 12, "loss": 1.0})
    sink.close()
    assert [json.loads(line)["images"] for line in path.read_text().splitlines()] == [4, 8, 12]
    assert last_record(path) == {"images": 12, "loss": 1.0}


def test_a_pipe_gets_few_json_lines_but_always_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    sink = Lines("finetune", stream)
    sink.open(0, 24)
    for images in (4, 8, 12):
        sink.record({"images": images})
    sink.close()
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"stage": "finetune", "images": 4},
        {"stage": "finetune", "images": 12},
    ]


def test_a_record_still_being_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_record(path) is None
    path.write_text('{"images": 4}\n{"images"')
    assert last_record(path) == {"images": 4}


def test_the_follower_shows_what_another_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "POLL_INTERVAL_S", 0.01)
    path, sink = tmp_path / "metrics.jsonl", Kept()
    path.write_text('{"images": 4}\n')
    with Follower(path, sink, 24):
        with path.open("a") as file:
            file.write('{"images": 8}\n')
        deadline = time.monotonic() + 5
        while not sink.records and time.monotonic() < deadline:
            time.sleep(0.01)
        with path.open("a") as file:
            file.write('{"images": 12}\n')
    assert sink.opened == (4, 24) and sink.closed
    assert [r["images"] for r in sink.records] == [8, 12]


def test_the_summary_names_the_losses() -> None:
    record = {"images": 4, "images_per_s": 12.34, "seconds": 1.0, "loss": 0.12345}
    assert summary(record) == "12.3 images/s | loss 0.123"


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    bar = telemetry.Bar("distill")
    bar.open(8, 24)
    bar.record({"images": 24, "images_per_s": 2.0, "loss": 0.5})
    bar.close()
    shown = capsys.readouterr().out
    assert "distill" in shown and "24/24" in shown


def test_a_preview_grid_has_a_column_for_each_prompt(tmp_path: Path) -> None:
    method = Copycat(optim_of())
    path = previews.draw(method, ("a", "b", "c"), tmp_path, 16)
    assert path == tmp_path / "previews" / "images-000000000016.png"
    with Image.open(path) as image:
        assert image.size == (3 * 4, 2 * 4)
        assert image.getpixel((0, 0)) == (128, 128, 128)
    assert previews.draw(method, ("a", "b", "c"), tmp_path, 16) is None


def test_going_back_drops_what_came_after(tmp_path: Path) -> None:
    reporter = Reporter([JsonLines(tmp_path / "metrics.jsonl")])
    with reporter.started(0, 16):
        for images in (4, 8, 12):
            reporter.log(TrainState(0, 4, images), {"loss": 1.0})
        reporter.rewind(4)
        reporter.log(TrainState(0, 4, 8), {"loss": 2.0})
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["images"], r["loss"]) for r in records] == [(4, 1.0), (8, 2.0)]


def test_the_bar_goes_back_with_the_run() -> None:
    bar = telemetry.Bar("distill")
    reporter = Reporter([bar])
    with reporter.started(0, 16):
        reporter.log(TrainState(0, 4, 12), {"loss": 1.0})
        reporter.rewind(4)
        (task,) = bar._progress.tasks
        assert (task.completed, task.total) == (4, 16)

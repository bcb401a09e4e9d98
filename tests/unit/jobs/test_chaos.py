"""The short forms of the experiments, for real; and that they would notice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobs import chaos
from jobs.havoc import bits, experiments, soak
from jobs.havoc.experiments import EXPERIMENTS, Experiment, chosen
from jobs.havoc.record import Outcome, Row, read_rows, write_rows
from jobs.havoc.setting import Setting
from jobs.havoc.table import markdown
from naruto_add.errors import UserError

BY_NAME = {each.name: each for each in EXPERIMENTS}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("saving", 8), ("bits", 30), ("mutants", 1), ("nonfinite", 2), ("storage", 1)]
)
def test_the_short_form_passes(out: Path, name: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    chaos.main([name, "--count", str(count), "--out", str(out)])
    [row] = [row for row in json.loads((out / "chaos.json").read_text())["rows"] if row["name"] == name]
    assert (row["verdict"], row["done"], row["passed"], row["failures"]) == ("passed", count, count, [])
    assert BY_NAME[name].title in capsys.readouterr().out
    assert BY_NAME[name].title in (out / "chaos.md").read_text()


def test_every_experiment_has_its_function_and_names_are_checked(tmp_path: Path) -> None:
    assert all(callable(each.set_up()) for each in EXPERIMENTS)
    assert [each.name for each in chosen(["bits", "saving"])] == ["saving", "bits"]
    assert {"workers", "soak", "copies"}.isdisjoint(each.name for each in chosen([]))
    with pytest.raises(UserError, match=r"savings: no such experiment; did you mean saving"):
        chaos.main(["savings"])
    with pytest.raises(UserError, match="2 problems"):
        chaos.main(["--count", "0", "--seconds", "-1"])
    (tmp_path / "chaos.json").write_text("{}")
    with pytest.raises(UserError, match="Choose another --out"):
        chaos.main(["bits", "--out", str(tmp_path)])


LIMITED = Experiment("limited", "what is done", 3, 1, "bits.bits", "the bar", {"seconds": 2.0})


def judged(*outcomes: Outcome, wanted: int = 2) -> Row:
    row = Row("limited", wanted, seed=0)
    for outcome in outcomes:
        row.add(outcome, 1.0)
    row.judge(LIMITED)
    return row


def test_a_row_is_held_to_its_bar() -> None:
    fine, slow, bad = Outcome(figures={"seconds": 1.5}), Outcome(figures={"seconds": 2.5}), Outcome("it crashed")
    assert judged(fine, fine).verdict == "passed"
    assert judged(fine).verdict == "unfinished" and judged(Outcome(), Outcome()).verdict == "unfinished"
    assert judged(fine, slow).verdict == "missed" and judged(fine, slow).figures == {"seconds": 2.5}
    failed = judged(fine, bad)
    assert failed.verdict == "missed" and failed.failures == [{"trial": 1, "problem": "it crashed"}]
    assert "seconds <= 2" in failed.bar and "| 1 of 3 | 1 |" in markdown([judged(fine, wanted=3)])


def test_an_interrupted_experiment_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def trials(setting: Setting) -> experiments.Trial:
        return lambda number: seen.append(number) or Outcome(kinds={"tried": 1}, figures={"seconds": 1.0})  # type: ignore[func-returns-value]

    monkeypatch.setattr(Experiment, "set_up", lambda self: trials)
    write_rows(tmp_path, {"bits": Row("bits", 5, seed=0, done=3, passed=3, kinds={"tried": 3})}, {})
    chaos.main(["bits", "--count", "5", "--out", str(tmp_path)])
    assert seen == [3, 4] and read_rows(tmp_path)["bits"].kinds == {"tried": 5}
    chaos.main(["bits", "--count", "5", "--out", str(tmp_path)])
    assert seen == [3, 4]
    chaos.main(["bits", "--count", "1", "--again", "--out", str(tmp_path)])
    assert seen == [3, 4, 0]


def test_a_promise_that_is_not_kept_is_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Experiment, "set_up", lambda self: lambda setting: lambda number: Outcome("it crashed"))
    with pytest.raises(SystemExit) as ended:
        chaos.main(["bits", "--count", "1", "--out", str(tmp_path)])
    assert ended.value.code == 1


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with ExitStack() as stack:
        yield Setting(tmp_path, 0, stack)


def test_a_bit_that_nobody_notices_is_a_problem(setting: Setting) -> None:
    _, look = bits.flipped_shards(setting)
    assert look() == "not noticed"  # nothing is wrong with them yet


def test_memory_and_descriptors_are_judged_after_the_warm_up() -> None:
    hours = [minute / 60 for minute in range(12)]
    memory = [(hour, 100.0 if number >= soak.WARM_UP_MINUTES else 50.0) for number, hour in enumerate(hours)]
    flat = soak.growth(memory, [20, 30, *[40] * 10])
    assert flat["memory_mib_per_h"] == pytest.approx(0) and flat["more_descriptors"] == 0
    rising = soak.growth([(hour, 6.0 * hour) for hour in hours], list(range(12)))
    assert rising["memory_mib_per_h"] == pytest.approx(6) and rising["more_descriptors"] == 6
    assert soak.growth(memory[:5], [20] * 5) == {}
    assert soak.served([True, True, True, False]) == {"requests": 4.0, "failed_share": 0.25}

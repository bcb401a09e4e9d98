from __future__ import annotations

import inspect
import json
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.arguments import parse
from jobs.bench import main
from jobs.measuring.alternate import Calibration, Curve, Pair, judged, measure
from jobs.measuring.bare import BareAdd
from jobs.measuring.growth import fitted
from jobs.measuring.machine import memory_of
from jobs.measuring.profile import parts_of_add, parts_of_recipe
from jobs.measuring.published import TextToImageRecipe
from jobs.measuring.report import draw_growth, results_table
from jobs.measuring.rows import ROWS, Row, chosen, lacking
from jobs.measuring.setting import Setting
from jobs.measuring.starting import FEW, only_of_distill
from jobs.measuring.training import add_method
from naruto_add.diffusion.schedule import load_schedule
from naruto_add.errors import UserError
from naruto_add.models.features import load_features
from naruto_add.models.load import encode_images, encode_text
from naruto_add.training.state import TrainState

RATE = Row("rate", "a rate", "images/s", "training.add", "its peer", 0.93)
TIME = Row("time", "a time", "s", "drawing.one 4 teacher 100", "its peer", 60)
ALONE = Row("alone", "a time", "s", "starting.command_help", limit=0.6)
LIKENESS = Row("likeness", "a likeness", "dB", "served.likeness", limit=40)
MEMORY = Row("memory", "memory", "MB", "drawing.memory 1", "its peer", 2)
INFORMATIVE = Row("informative", "a rate", "images/s", "training.bf16", "its peer")


def test_rates_and_times_are_held_to_their_bars() -> None:
    passed = judged(RATE, [9.0, 9.5, 10.0], [10.0, 10.0, 10.0], noisy=False)
    assert (passed.value, passed.spread, passed.peer, passed.peer_spread) == (9.5, 0.5, 10.0, 0.0)
    assert passed.ratio == pytest.approx(0.95) and passed.ratio_quartiles == pytest.approx((0.925, 0.975))
    assert (passed.bar, passed.passed, passed.verdict) == ("ratio >= 0.93", True, "passed")

    missed = judged(TIME, [0.1, 0.1], [5.0, 5.0], noisy=False)
    assert missed.ratio == pytest.approx(50) and missed.passed is False and missed.verdict == "missed"

    assert judged(ALONE, [0.5, 0.55], [], noisy=False).passed is True
    slow = judged(ALONE, [0.5, 0.9], [], noisy=False)
    assert (slow.bar, slow.ratio, slow.passed) == ("<= 0.6 s", None, False)


def test_more_of_some_units_is_better_and_less_of_others() -> None:
    assert judged(LIKENESS, [41.0], [], noisy=False).passed and not judged(LIKENESS, [39.0], [], noisy=False).passed
    assert LIKENESS.bar == ">= 40 dB"
    found = judged(MEMORY, [100.0], [300.0], noisy=False)
    assert found.ratio == 3 and found.passed


def test_rounds_are_compared_with_themselves() -> None:
    """A machine that slows down in the middle slows both sides of a round."""
    assert judged(RATE, [10.0, 1.0, 10.0], [10.0, 1.0, 10.0], noisy=False).ratio_quartiles == (1.0, 1.0)


def test_noise_and_no_bar_conclude_nothing() -> None:
    noisy = judged(RATE, [10.0], [10.0], noisy=True)
    assert noisy.passed is None and noisy.verdict == "noisy"
    informative = judged(INFORMATIVE, [10.0], [2.0], noisy=False)
    assert (informative.passed, informative.verdict, informative.bar) == (None, "for information", None)


def test_calibration_notices_spread_and_a_steady_neighbour() -> None:
    calibration = Calibration(load=0.0)
    calibration.seconds = [1.0, 2.0, 3.0, 1.0, 1.01, 1.02]
    assert calibration.is_noisy() and not calibration.is_noisy(start=3)
    assert calibration.noise(start=3) == pytest.approx(0.01 / 1.01)
    calibration.load = 0.9
    assert calibration.is_noisy(start=3)


def test_ours_and_its_peer_take_turns() -> None:
    calls: deque[str] = deque()

    def side(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    calibration = Calibration(load=0.0)
    result = measure(RATE, Pair(lambda: side("ours"), lambda: side("peer")), 3, calibration)
    assert list(calls) == ["ours", "peer"] * 4  # the first round is warming up
    assert result.samples == [3.0, 5.0, 7.0] and result.peer_samples == [4.0, 6.0, 8.0]
    assert len(calibration.seconds) == 4


def test_every_row_has_its_function_and_names_are_checked() -> None:
    for row in ROWS:
        function, words = row.found()
        inspect.signature(function).bind(None, *words)
    assert [row.name for row in chosen(["student-1", "add"])] == ["add", "student-1"] and chosen([]) == list(ROWS)
    with pytest.raises(UserError, match="did you mean student-4"):
        main(["--only", "student4"])
    with pytest.raises(UserError, match="not a folder"):
        main(["--base", "nowhere"])
    with pytest.raises(UserError, match="name a folder"):
        main(["--out", __file__])
    with pytest.raises(UserError, match="no bundle there"):
        main(["--bundle", "nowhere"])
    with pytest.raises(UserError, match="at least one"):
        main(["--repeats", "0"])
    without = replace(ALONE, needs="no_such_package")
    assert "pip install no_such_package" in str(lacking(without)) and lacking(ALONE) is None


def test_what_was_started_is_ended_even_if_measuring_fails() -> None:
    ended: list[bool] = []
    pair = Pair(lambda: 1 / 0, warm=False, close=lambda: ended.append(True))
    with pytest.raises(ZeroDivisionError):
        measure(ALONE, pair, 1, Calibration(load=0.0))
    assert ended == [True]


def test_the_exponent_is_that_of_the_power_law() -> None:
    assert fitted({x: 3 * x**1.5 for x in (1, 2, 8, 32)}) == pytest.approx(1.5)


def test_memory_is_what_the_call_adds() -> None:
    assert 30 < memory_of(lambda: torch.ones(8 * 2**20)) < 40
    assert memory_of(lambda: None) < 5


def test_curves_are_drawn_where_there_are_some(tmp_path: Path) -> None:
    plain = judged(ALONE, [0.5], [], noisy=False)
    draw_growth([plain], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    draw_growth([replace(plain, curve=Curve("images", "seconds", {1: [1.0], 4: [4.0, 5.0]}))], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


def test_the_published_recipe_is_ours_in_other_words(tiny_base: Path, tmp_path: Path) -> None:
    """The same noisy latents and targets; and it encodes its images and captions in every step."""
    setting = Setting(str(tiny_base), tmp_path, quick=True)
    base = setting.trainable_base()
    recipe = TextToImageRecipe(base, setting.shards, setting.optim(setting.recipe.teacher.optim), "fp32")
    schedule = load_schedule(base.scheduler_config)
    x0, eps, t = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0, 500, 990])
    assert torch.allclose(recipe.noise_scheduler.add_noise(x0, eps, t), schedule.add_noise(x0, eps, t), atol=1e-5)
    assert torch.allclose(recipe.target(x0, eps, t), schedule.target(x0, eps, t), atol=1e-5)

    before = [parameter.detach().clone() for parameter in base.unet.parameters()]
    with Products() as step:
        assert recipe.step() > 0
    assert not all(torch.equal(a, b) for a, b in zip(before, base.unet.parameters(), strict=True))
    with Products() as encoding, torch.no_grad():
        encode_images(base.vae, torch.zeros(2, 3, 32, 32))
        encode_text(base, setting.captions(2))
    assert encoding.counts <= step.counts


def test_settings_of_the_short_run_exist_and_those_of_distill_are_picked(tmp_path: Path) -> None:
    words = ["--recipe", "smoke", *FEW]
    assert parse("run", [*words, "--run", str(tmp_path)]).recipe.data.num_images == 8
    assert only_of_distill(words) == ["--recipe", "smoke", "--distill.optim.images", "4"]


def test_the_table_shows_every_row() -> None:
    table = results_table([judged(RATE, [1.0], [1.0], noisy=False), judged(ALONE, [1.0], [], noisy=False)])
    assert table.row_count == 2
    assert list(table.columns[4].cells) == ["its peer", "-"] and list(table.columns[6].cells) == ["1", "-"]


class Products(TorchDispatchMode):
    """Counts convolutions, matrix products and attentions, forward and backward, by the shapes of what goes in."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[Any, ...]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in func.__name__ for word in ("convolution", "mm", "attention")):
            self.counts[func.__name__, *(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))] += 1
        return func(*args, **(kwargs or {}))


def test_the_bare_loop_does_the_same_arithmetic(tiny_base: Path, tmp_path: Path) -> None:
    setting = Setting(str(tiny_base), tmp_path, quick=True)
    method, batch = add_method(setting)
    bare = BareAdd(method.config, setting.trainable_base(), load_features(method.config.features), setting.precision)
    with Products() as ours:
        method.step(batch, TrainState(0, len(batch)))
    before = [p.detach().clone() for p in bare.student.parameters()]
    with Products() as peer:
        bare.step(batch)
    assert ours.counts == peer.counts and sum(ours.counts.values()) > 500
    assert not all(torch.equal(a, b) for a, b in zip(before, bare.student.parameters(), strict=True))


def test_the_parts_of_a_step_add_up(tiny_base: Path, tmp_path: Path) -> None:
    pair = parts_of_add(Setting(str(tiny_base), tmp_path, quick=True))
    assert pair.parts is not None
    seconds, parts = [pair.ours() for _ in range(2)], pair.parts()
    assert set(parts) == {"student", "teacher", "decode", "features", "heads", "optimizer", "rest"}
    assert min(parts.values()) > 0
    assert sum(parts.values()) == pytest.approx(sum(seconds) / 2, rel=0.02)


def test_the_parts_of_the_recipes_step_show_what_encoding_costs(tiny_base: Path, tmp_path: Path) -> None:
    pair = parts_of_recipe(Setting(str(tiny_base), tmp_path, quick=True))
    assert pair.parts is not None
    taken, parts = pair.ours(), pair.parts()
    assert set(parts) == {"UNet", "encoding images", "encoding captions", "data", "optimizer", "rest"}
    assert min(parts.values()) > 0 and sum(parts.values()) == pytest.approx(taken, rel=0.02)


def test_rows_without_a_peer_are_measured_too(tiny_base: Path, tmp_path: Path) -> None:
    main(["--quick", "--base", str(tiny_base), "--only", "wait", "scores", "grow-batch", "--out", str(tmp_path)])
    rows = {row["name"]: row for row in json.loads((tmp_path / "bench.json").read_text())["rows"]}
    assert 0 < rows["wait"]["value"] < 100 and rows["wait"]["bar"] == "<= 2 %"
    assert rows["scores"]["value"] < 0.1
    assert list(rows["grow-batch"]["curve"]["points"]) == ["4", "8"] and -1 < rows["grow-batch"]["value"] < 3
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_a_quick_run_writes_its_results(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["flops-fp32", "prepare", "add", "feed", "batch-8", "features"]
    main(["--quick", "--base", str(tiny_base), "--only", *only, "--out", str(tmp_path)])
    found: dict[str, Any] = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["add", "feed", "flops-fp32", "batch-8", "prepare", "features"]
    for row in found["rows"]:
        assert row["value"] > 0 and row["peer"] > 0 and row["ratio"] > 0
        assert len(row["samples"]) == len(row["peer_samples"]) == 2
        assert (row["passed"] is None) == (row["verdict"] in ("noisy", "for information"))
    assert {"before", "after", "cores", "threads"} <= set(found["machine"])
    assert len(found["calibration"]["seconds"]) == 18
    assert (tmp_path / "ratios.png").stat().st_size > 1000
    assert "UNet training step, fp32" in capsys.readouterr().out

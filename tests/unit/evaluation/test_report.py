"""The page: complete, self-contained, well-formed."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from naruto_add.data.shards import Shards
from naruto_add.evaluation import figures
from naruto_add.evaluation.curves import thinned, training_curves
from naruto_add.evaluation.generate import Gallery
from naruto_add.evaluation.latency import Split
from naruto_add.evaluation.memorisation import Memorisation, Neighbours
from naruto_add.evaluation.report import Pictures, data_uri, render
from naruto_add.evaluation.scores import Score, timed

VOID = {"meta", "img", "br"}
COLUMNS = ("base@50", "teacher@100", "teacher@4", "student@4", "student@1")


class Checker(HTMLParser):
    """Collects what a page refers to, and notices tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.references: list[str | None] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.references += [values[name] for name in ("href", "src", "srcset", "data") if name in values]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def row(fd: float, steps: int, **others: Any) -> dict[str, Any]:
    seconds = timed(Split(0.002, steps * 0.02, 0.01), steps)
    return Score(n=4, fd_real=fd, fd_real_interval=(fd - 1, fd + 1), diversity=0.4, **seconds, **others).to_json()


def make_report(judge: Mapping[str, Any] | None) -> dict[str, Any]:
    network = {"network": "efficientnet_lite1", "sha256": "ab" * 32}
    scores = {
        "student@4": row(41, 4, prompt_accuracy=0.75), "student@1": row(55, 1), "teacher@50": row(38, 100),
        "teacher@4": row(49, 8), "base@50": row(90, 100), "teacher@100": Score(**timed(Split(1, 2, 3), 200)).to_json(),
        "floor/real": Score(n=4, fd_real=20.0, prompt_accuracy=0.9).to_json(),
        "floor/autoencoder": Score(n=4, fd_real=9.0).to_json(), "floor/teacher": Score(n=4, fd_real=39.0).to_json(),
        "legacy/student@4": Score(n=4, fd_teacher=140.0).to_json(),
        "legacy/floor": Score(n=4, fd_teacher=1440.0).to_json(),
    }  # fmt: skip
    settings = {
        "recipe": "mini", "seed": 0, "size_px": 32, "prompts": ["<b>Naruto</b> & co", "two"], "n_reference": 3,
        "n_train": 7, "teacher": "teacher@50", "founding_n": 4, "founding_floor": "teacher@25", "num_images": 2,
        "student_steps": [4, 1], "latency_steps": 100, "latency_repeats": 3, "guidance_scale": 3.0, "bootstrap": 20,
    }  # fmt: skip
    return {
        "scores": scores,
        "memorisation": {"student@4": asdict(Memorisation(2, 7, 0.4, 0.41, 0.05, 0.5, 0.0625, 0.25))},
        "extractors": {
            "distribution": {"name": "Frechet distance (x)", "kernel_name": "kernel distance (x)", **network},
            "perceptual": {"name": "perceptual distance (x)", **network},
            "judge": judge,
        },
        "models": {
            name: {"digest": name * 3, "unet_parameters": size}
            for name, size in (("student", 60), ("teacher", 100), ("base", 100))
        },
        "settings": settings,
        "hardware": {"device": "cpu", "processor": "a processor", "threads": 1},
    }


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    def gallery(name: str) -> Gallery:
        made = Gallery(tmp_path / name)
        made.add([0, 1], torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8))
        return made

    golden = {name: gallery(f"golden-{name}") for name in COLUMNS}
    heldout = {name.replace("100", "50"): gallery(f"heldout-{name}") for name in COLUMNS}
    return Pictures(
        golden, heldout, Neighbours(torch.tensor([3, 0]), torch.tensor([0.3, 0.2]), torch.tensor([0.9, 0.8]))
    )


def records(folder: Path) -> None:
    for stage, values in (("finetune", {"loss": 0.5}), ("distill", {"d_real": 0.4, "d_fake": -0.4})):
        (folder / f"{stage}-1").mkdir(parents=True)
        lines = [json.dumps({"images": 8 * n, **values}) for n in range(1, 5)]
        (folder / f"{stage}-1" / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_the_page_has_all_its_parts_and_needs_nothing_else(pictures: Pictures, shards: Shards, tmp_path: Path) -> None:
    records(tmp_path / "runs")
    page = render(make_report({"sha256": "cd" * 32, "accuracy": {"place": 0.9}}), pictures, shards, tmp_path / "runs")
    checker = check(page)
    assert checker.headings == [
        "The golden prompts, side by side", "Captions that no model was trained on", "Quality against time",
        "The scores", "Where the time goes", "How they learned", "Learned, or copied?", "What the words mean",
        "Where this comes from",
    ]  # fmt: skip
    assert all(reference is not None and reference.startswith("data:image/webp") for reference in checker.references)
    assert not re.search(r"https?:|url\(|@import|<script|<link", page.replace("http://www.w3.org/2000/svg", ""))
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_every_picture_is_there_and_says_what_it_shows(pictures: Pictures, shards: Shards, tmp_path: Path) -> None:
    checker = check(render(make_report(None), pictures, shards, tmp_path))
    hero, golden, heldout, neighbours = 2, 2 * len(COLUMNS), 2 * (len(COLUMNS) + 1), 2 * 2
    assert len(checker.images) == hero + golden + heldout + neighbours
    assert all(image["alt"] for image in checker.images)
    assert sum(str(image["alt"]).startswith("real image") for image in checker.images) == 2


def test_captions_cannot_break_out_of_the_page(pictures: Pictures, shards: Shards, tmp_path: Path) -> None:
    page = render(make_report(None), pictures, shards, tmp_path)
    assert "<b>Naruto" not in page
    assert "&lt;b&gt;Naruto&lt;/b&gt; &amp; co" in page


def test_nulls_are_dashes_and_parts_without_content_are_left_out(
    pictures: Pictures, shards: Shards, tmp_path: Path
) -> None:
    page = render(make_report(None), pictures, shards, tmp_path)
    assert not re.search("None|nan", re.sub('base64,[^"]*', "", page))
    assert "How they learned" not in page
    assert "Prompt accuracy" not in page
    assert figures.NOTHING in page


def test_the_nearest_neighbour_comes_first(pictures: Pictures, shards: Shards, tmp_path: Path) -> None:
    page = render(make_report(None), pictures, shards, tmp_path)
    assert page.index("distance 0.200") < page.index("distance 0.300")


def test_both_tests_of_copying_are_on_the_page(pictures: Pictures, shards: Shards, tmp_path: Path) -> None:
    page = render(make_report(None), pictures, shards, tmp_path)
    assert "p = 0.500" in page and "p = 0.250" in page


def test_pictures_survive_the_way_into_the_page() -> None:
    image = torch.full((3, 16, 16), 200, dtype=torch.uint8)
    content = base64.b64decode(data_uri(image).partition("base64,")[2])
    with Image.open(io.BytesIO(content)) as decoded:
        assert decoded.size == (16, 16)
        red = decoded.convert("RGB").getpixel((8, 8))
        assert isinstance(red, tuple)
        assert abs(red[0] - 200) < 6


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "\N{EN DASH}"), (1234.6, "1,235"), (42.13, "42.1"), (0.01234, "0.0123"), (-0.5, "-0.500"), (100.0, "100")],
)
def test_figures_are_rounded_to_three_digits(value: float | None, shown: str) -> None:
    assert figures.figure(value) == shown


def test_the_headline_compares_the_student_with_its_teacher() -> None:
    headline = figures.headline(make_report(None))
    assert headline.speedup == pytest.approx(6 / (0.002 + 0.08 + 0.01))
    assert headline.closeness == pytest.approx(41 / 38)
    assert headline.size == 0.6


def test_rows_are_grouped_most_steps_first() -> None:
    groups = figures.groups(make_report(None)["scores"])
    assert [list(group.rows) for group in groups][1] == ["teacher@100", "teacher@50", "teacher@4"]
    assert sum(len(group.rows) for group in groups) == len(make_report(None)["scores"])


def test_curves_are_thinned_to_means_and_need_their_metrics(tmp_path: Path) -> None:
    recorded = [{"images": float(n), "loss": float(n % 2)} for n in range(1, 1001)]
    points = thinned(recorded, "loss")
    assert len(points) == 100
    assert {y for _, y in points} == {0.5}
    assert points[-1][0] == 1000
    records(tmp_path)
    assert [curve.title for curve in training_curves(tmp_path)] == [
        "Teacher: denoising loss",
        "Discriminator: mean logits",
    ]
    assert training_curves(tmp_path / "nowhere") == []

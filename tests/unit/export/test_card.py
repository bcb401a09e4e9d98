from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from naruto_add.artifact import Manifest
from naruto_add.config import DistillConfig, ExportConfig
from naruto_add.export.card import CARD, METHODS, write_card

LINEAGE = {
    "shards": Manifest("shards", {"data": {"source": "my_images"}}, {}),
    "teacher": Manifest("teacher", {"teacher": {"base": "owner/base", "revision": "abc"}}, {"shards": "1"}),
    "student": Manifest("student", {"distill": {"size": "small", "student_timesteps": [249, 499, 749, 999]}}, {}),
    "report": Manifest("report", {}, {}),
}


def row(**values: float | int) -> dict[str, float | int | None]:
    columns = ("fd_real", "kid_real", "fd_teacher", "lpips_teacher", "diversity", "prompt_accuracy", "latency_s", "n")
    return {column: values.get(column) for column in columns}


REPORT: dict[str, Any] = {
    "scores": {
        "floor/real": row(fd_real=43.21, n=64),
        "student@4": row(fd_real=123.456789, prompt_accuracy=0.8125, latency_s=0.031, n=64),
    },
    "extractors": {
        "distribution": {"name": "Frechet distance (efficientnet_lite1)", "sha256": "f" * 64},
        "perceptual": {"name": "EfficientNet-LPIPS", "sha256": "e" * 64},
        "judge": None,
    },
    "models": {"student": {"unet_parameters": 5_600_000}},
}


@pytest.fixture
def card(tmp_path: Path) -> str:
    write_card(tmp_path, ExportConfig(title="A student", license="mit"), LINEAGE, REPORT, 128, "A ninja")
    return (tmp_path / CARD).read_text(encoding="utf-8")


def test_the_front_matter_is_what_the_hub_reads(card: str) -> None:
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "mit"
    assert front["library_name"] == "diffusers"
    assert front["pipeline_tag"] == "text-to-image"


def test_scores_stand_with_their_n_floors_and_extractors(card: str) -> None:
    rows = [line for line in card.splitlines() if line.startswith(("| student@", "| floor/"))]
    assert rows[0].startswith("| student@4 | 64 | 123.5 | - |") and "| 0.8125 | 0.031 |" in rows[0]
    assert rows[1].startswith("| floor/real | 64 | 43.21 |")
    assert "Frechet distance (efficientnet_lite1), sha256 `ffffffffffffffff`" in card
    assert "FID" not in card, "the standard name belongs to the standard weights alone"


def test_it_says_where_everything_comes_from(card: str) -> None:
    for manifest in LINEAGE.values():
        assert manifest.digest in card
    assert "owner/base@abc" in card and "my_images" in card and "small (5,600,000 UNet parameters)" in card
    assert "## What it is for, and its limits" in card


def card_of(distill: dict[str, object], folder: Path) -> str:
    """The card of a student made with these settings beside those of `LINEAGE`."""
    student = replace(LINEAGE["student"], config={"distill": {**LINEAGE["student"].config["distill"], **distill}})
    write_card(folder, ExportConfig(), {**LINEAGE, "student": student}, REPORT, 128, "A ninja")
    return (folder / CARD).read_text(encoding="utf-8")


@pytest.mark.parametrize("method", get_args(get_type_hints(DistillConfig)["method"]))
def test_it_names_the_method_that_made_the_student_and_no_other(method: str, tmp_path: Path) -> None:
    card = card_of({"method": method}, tmp_path)
    assert [name for name, known in METHODS.items() if known.name in card] == [method]
    assert yaml.safe_load(card.split("---")[1])["tags"][2] == METHODS[method].tag
    assert ("Adversarial" in card) == (method in ("add", "ladd"))


def test_a_student_made_before_there_was_a_choice_is_of_add(tmp_path: Path) -> None:
    assert "by Adversarial Diffusion Distillation" in card_of({}, tmp_path)


def test_prompts_with_quotes_stay_valid_python(tmp_path: Path) -> None:
    write_card(tmp_path, ExportConfig(steps=2), LINEAGE, REPORT, 128, 'Un ninja "masqué" à l\'aube')
    code = (tmp_path / CARD).read_text(encoding="utf-8").split("```python")[1].split("```")[0]
    compile(code, "card", "exec")
    assert "num_inference_steps=2" in code

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from naruto_add.data import universe
from naruto_add.evaluation.eyes import Eyes
from naruto_add.evaluation.floors import wishes
from naruto_add.evaluation.judge import CARD, AttributeJudge, asked_for, load_judge, summary
from naruto_add.evaluation.judge_training import UNKNOWN, JudgeConfig, draw_scene, label, look_at_scenes, train_judge
from naruto_add.models.features import load_features
from tests import tiny
from tests.unit.evaluation.conftest import make_shards

CONFIG = JudgeConfig(images=120, size_px=48, epochs=25, batch_size=32, chunk=40, learning_rate=3e-3)


@pytest.fixture(scope="module")
def trained(eyes: Eyes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A judge trained on a hundred scenes, and its work folder."""
    work = tmp_path_factory.mktemp("judge")
    train_judge(work / "out", work, eyes.lite, tiny.tiny_vae(), CONFIG)
    return work / "out", work


def test_a_judge_learns_what_it_can_see(trained: tuple[Path, Path]) -> None:
    accuracy = json.loads((trained[0] / CARD).read_text())["accuracy"]
    assert accuracy["medium"] > 0.6, "three values"
    assert set(accuracy) <= set(universe.JUDGED)


def test_training_resumes_from_its_chunks_and_gives_the_same_judge(trained: tuple[Path, Path], eyes: Eyes) -> None:
    out, work = trained
    before = (out / "judge.safetensors").read_bytes()
    (folder,) = work.glob("scenes-*")
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    next(iter(kept)).unlink()
    train_judge(work / "again", work, eyes.lite, tiny.tiny_vae(), CONFIG)
    assert (work / "again" / "judge.safetensors").read_bytes() == before
    assert sum(path.stat().st_mtime_ns == then for path, then in kept.items()) == len(kept) - 1 == 2


def test_other_settings_look_again(trained: tuple[Path, Path], eyes: Eyes, tmp_path: Path) -> None:
    work = shutil.copytree(trained[1], tmp_path / "work")
    seen = look_at_scenes(work, eyes.lite, None, replace(CONFIG, images=4, chunk=4))
    assert seen.maps.shape[0] == 4
    assert len(list(work.glob("scenes-*"))) == 2


def test_what_a_scene_does_not_show_has_no_label() -> None:
    _, shown = draw_scene(0, CONFIG)
    assert label(shown, "place", universe.JUDGED["place"]) >= 0
    assert label({}, "place", universe.JUDGED["place"]) == UNKNOWN


def test_saved_and_loaded_it_judges_alike_and_tells_its_hash(trained: tuple[Path, Path], eyes: Eyes) -> None:
    judge = load_judge(trained[0], eyes.lite)
    assert judge is not None
    assert len(judge.card["sha256"]) == 64
    pictures = torch.stack([draw_scene(n, CONFIG)[0] for n in range(6)])
    raw = eyes.lite(pictures)
    medium = [universe.JUDGED["medium"][i] for i in judge(summary(raw))["medium"].argmax(1).tolist()]
    assert judge.right(raw, [{"medium": value} for value in medium]) == [1.0] * 6


def test_no_judge_where_none_is_or_where_it_saw_through_other_features(trained: tuple[Path, Path], eyes: Eyes) -> None:
    assert load_judge(trained[0].parent / "nowhere", eyes.lite) is None
    assert load_judge(trained[0], load_features("efficientnet_lite0")) is None


def test_a_picture_is_judged_by_what_was_asked_for() -> None:
    judge = AttributeJudge({"place": ("forest", "beach"), "action": ("running", "sitting")}, channels=5).eval()
    raw = [torch.randn(3, 2, 8, 8), torch.randn(3, 1, 4, 4)]
    with torch.no_grad():
        for head in judge.heads.values():
            head.weight.zero_()
            head.bias.copy_(torch.tensor([1.0, 0.0]))
    asked = [{"place": "forest", "action": "sitting"}, {}, {"place": "forest"}]
    assert judge.right(raw, asked) == [0.5, 1.0]


def test_only_mentioned_attributes_are_asked_for() -> None:
    fields = {"place": ("forest", "beach"), "mask": ("none", "cloth")}
    attributes = {"place": "beach", "mask": "cloth", "mentioned": ["place", "mood"]}
    assert asked_for(attributes, fields) == {"place": "beach"}


def test_a_users_images_ask_for_nothing(tmp_path: Path) -> None:
    known, unknown = make_shards(tmp_path / "known"), make_shards(tmp_path / "unknown", known=False)
    judge = AttributeJudge(universe.JUDGED, channels=5)
    assert wishes(unknown, "heldout", [0, 1], judge) is None
    assert wishes(known, "heldout", [0, 1], None) is None
    asked = wishes(known, "heldout", [0, 1], judge)
    assert asked is not None
    assert all(len(row) > 0 for row in asked)

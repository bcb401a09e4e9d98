from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from naruto_add.config import Recipe
from naruto_add.errors import UserError
from naruto_add.evaluation.eyes import Eyes, open_eyes
from naruto_add.evaluation.perceptual import AlexNetLpips, EfficientNetDistance
from naruto_add.evaluation.standard import ALEXNET, INCEPTION, Inception, find, load_inception

CPU = torch.device("cpu")


class Blank(FeatureExtractorInceptionV3):
    """Inception's anatomy, left at its random initial weights."""

    def load_state_dict(self, *args: object, **options: object) -> None:
        pass


def test_weights_of_another_hash_are_refused(tmp_path: Path) -> None:
    assert find(ALEXNET, str(tmp_path)) is None
    (tmp_path / ALEXNET.names[0]).write_bytes(b"not the weights")
    with pytest.raises(UserError, match=r"not the published weights.*evaluate\.weights"):
        find(ALEXNET, str(tmp_path))


def test_inception_without_weights_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate\.extractor inception: .*efficientnet_lite1"):
        load_inception(str(tmp_path))


def test_inception_gives_2048_features_that_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "inception.pth"
    torch.save({}, path)
    torch.save(Blank("inception-v3-compat", ["2048"], str(path)).state_dict(), path)
    net = Inception(path)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    both = net.pooled(pixels)
    assert both.shape == (2, 2048)
    assert torch.allclose(both[:1], net.pooled(pixels[:1]), rtol=1e-3, atol=1e-5)
    described = Eyes(None, net, AlexNetLpips.__new__(AlexNetLpips), CPU).describe()["distribution"]  # type: ignore[arg-type]
    assert (described["name"], described["kernel_name"]) == ("FID", "KID")
    assert described["sha256"] == INCEPTION.sha256


def test_without_standard_weights_no_score_bears_a_standard_name(
    recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    eyes = open_eyes(replace(recipe.evaluate, weights=str(tmp_path)), CPU)
    assert isinstance(eyes.perceptual, EfficientNetDistance)
    assert "stands in for LPIPS" in caplog.text
    names = [name for entry in eyes.describe().values() for key, name in entry.items() if key.endswith("name")]
    assert len(names) == 3
    assert not any(standard in name for name in names for standard in ("FID", "KID", "LPIPS"))
    assert all("efficientnet_lite1" in name for name in names)
    assert all(len(entry["sha256"]) == 64 for entry in eyes.describe().values())

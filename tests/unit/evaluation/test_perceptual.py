from __future__ import annotations

from pathlib import Path

import lpips
import pytest
import torch
from torchvision.models import AlexNet

from naruto_add.evaluation.eyes import Eyes
from naruto_add.evaluation.perceptual import AlexNetLpips, Perceptual


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet's anatomy with random weights, in the file format of the published ones."""
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(AlexNet().state_dict(), path)
    return path


@pytest.fixture(scope="module", params=["stand-in", "lpips"])
def perceptual(request: pytest.FixtureRequest, eyes: Eyes, alexnet: Path) -> Perceptual:
    return eyes.perceptual if request.param == "stand-in" else AlexNetLpips(alexnet)


def pixels(seed: int, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@torch.no_grad()
def test_equal_pictures_are_at_zero_and_the_order_does_not_matter(perceptual: Perceptual) -> None:
    x, y = perceptual.maps(pixels(0)), perceptual.maps(pixels(1))
    assert torch.equal(perceptual.between(x, x), torch.zeros(3))
    assert torch.equal(perceptual.between(x, y), perceptual.between(y, x))
    assert (perceptual.between(x, y) > 0).all()


@torch.no_grad()
def test_a_stronger_change_is_a_larger_distance(eyes: Eyes) -> None:
    x = pixels(0)
    slightly, strongly = (x + 0.05 * pixels(1)).clamp(-1, 1), (x + 0.8 * pixels(1)).clamp(-1, 1)
    maps = [eyes.perceptual.maps(p) for p in (x, slightly, strongly)]
    assert (eyes.perceptual.between(maps[0], maps[1]) < eyes.perceptual.between(maps[0], maps[2])).all()


@torch.no_grad()
def test_a_distance_does_not_depend_on_its_batch(perceptual: Perceptual) -> None:
    together = perceptual.between(perceptual.maps(pixels(0)), perceptual.maps(pixels(1)))
    for i in range(3):
        alone = perceptual.between(perceptual.maps(pixels(0)[i : i + 1]), perceptual.maps(pixels(1)[i : i + 1]))
        assert alone.item() == pytest.approx(together[i].item(), rel=1e-4)


@torch.no_grad()
def test_lpips_is_the_packages_lpips_with_the_weights_in_the_file(alexnet: Path) -> None:
    ours = AlexNetLpips(alexnet)
    published = torch.load(alexnet, weights_only=True)
    assert torch.equal(ours.net.net.slice5.state_dict()["10.weight"], published["features.10.weight"])
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    theirs.net.load_state_dict(ours.net.net.state_dict())
    expected = theirs(pixels(0), pixels(1)).flatten()
    assert torch.allclose(ours.between(ours.maps(pixels(0)), ours.maps(pixels(1))), expected, rtol=1e-5)


def test_the_stand_in_does_not_call_itself_lpips(eyes: Eyes) -> None:
    assert "LPIPS" not in eyes.perceptual.name
    assert "efficientnet_lite1" in eyes.perceptual.name

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from naruto_add.data.shards import Shards
from naruto_add.evaluation.painters import to_pixels
from naruto_add.evaluation.probe import DistanceProbe, held_out, open_probe, unseen
from naruto_add.recipe import load
from tests.tiny import SIZE_PX

CPU = torch.device("cpu")
SMOKE = load("smoke")
RECIPE = replace(SMOKE, distill=replace(SMOKE.distill, measure_images=8, measure_pictures=3, survey_pictures=5))


class Easel:
    """Draws noise for its caption and place, or the held-out images themselves."""

    def __init__(self, shards: Shards, copies: bool) -> None:
        self.shards = shards
        self.copies = copies
        self.drawn: list[tuple[str, int, int]] = []

    def __call__(self, captions: Sequence[str], places: Sequence[int], steps: int) -> Tensor:
        self.drawn += [(caption, place, steps) for caption, place in zip(captions, places, strict=True)]
        if self.copies:
            return to_pixels(self.shards.images("heldout", [p % self.shards.count("heldout") for p in places]), CPU)
        return torch.stack(
            [torch.randn(3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(p)) for p in places]
        )


def probe_of(easel: Easel, folder: Path) -> DistanceProbe:
    return open_probe(RECIPE, easel.shards, easel, CPU, folder, folder / "kept")


def test_distances_tell_the_held_out_images_from_noise(shards: Shards, tmp_path: Path) -> None:
    copies, noise = (probe_of(Easel(shards, copies), tmp_path).measure(finished=False) for copies in (True, False))
    assert copies["fd_real"] == pytest.approx(0, abs=1e-6) and copies["scored"] == noise["scored"] == 3
    assert noise["fd_real"] > 100 and noise["kid_real"] > copies["kid_real"]
    assert set(copies) == {"fd_real", "kid_real", "scored"}


def test_the_same_captions_and_noises_every_time_and_others_at_the_end(shards: Shards, tmp_path: Path) -> None:
    easel = Easel(shards, copies=False)
    probe = probe_of(easel, tmp_path)
    first, captions = probe.measure(finished=False), shards.captions("heldout")
    asked = [(captions[place], place, 4) for place in range(3)]
    assert easel.drawn == asked
    last = probe.measure(finished=True)
    assert {name: last[name] for name in first} == first
    others = [(captions[place % 3], place, steps) for steps in (4, 2, 1) for place in range(3, 8)]
    assert easel.drawn == [*asked, *asked, *others]
    assert {f"{name}_at_{steps}" for name in ("fd_real", "seconds") for steps in (4, 2, 1)} < set(last)
    features = unseen(tmp_path, 2)
    assert features.shape == (5, probe.real.shape[1]) and last["surveyed"] == 5


def test_the_held_out_images_are_looked_at_once(shards: Shards, tmp_path: Path) -> None:
    _, real = held_out(RECIPE.evaluate, shards, CPU, tmp_path)
    (kept,) = tmp_path.iterdir()
    before = kept.stat().st_mtime_ns
    _, again = held_out(RECIPE.evaluate, shards, CPU, tmp_path)
    assert torch.equal(real, again) and kept.stat().st_mtime_ns == before

"""Training latents that the teacher draws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from naruto_add import rng
from naruto_add.config import DistillConfig
from naruto_add.data.cache import LatentCache
from naruto_add.data.latents import encode
from naruto_add.data.shards import Shards
from naruto_add.diffusion.samplers import sample_teacher
from naruto_add.distill.synthetic import draw_shard, draw_together
from naruto_add.training.world import World
from tests.folders import tiny_shards
from tests.tiny import tiny_components
from tests.unit.distill.tools import OPTIM

CONFIG = DistillConfig(optim=OPTIM, method="ladd", synthetic_steps=3, teacher_guidance=2.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> LatentCache:
    place = tmp_path_factory.mktemp("synthetic")
    shards = Shards(tiny_shards(place / "shards"))
    return encode(shards, "train", tiny_components(), place / "latents", 4, "cpu")


def test_they_are_the_guided_teachers_for_the_same_captions(cache: LatentCache) -> None:
    teacher = tiny_components()
    drawn = draw_together(CONFIG, teacher, cache, 5, 4, World())
    ids = [1, 5]  # in different files
    x_T = rng.normal((4, 8, 8), 5, "synthetic-x_T", ids)
    expected = sample_teacher(teacher.unet, teacher.scheduler_config, x_T, cache.text(ids), cache.uncond_text, 3, 2.0)
    torch.testing.assert_close(drawn.latents(ids), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(drawn.latents(ids), cache.latents(ids), atol=0.1)
    for name in ("text", "pooled"):
        assert (drawn.rows(name, range(6)) == cache.rows(name, range(6))).all()


def test_the_size_of_batches_changes_nothing(cache: LatentCache) -> None:
    teacher = tiny_components()
    one = draw_shard(CONFIG, teacher, cache, 0, 5, batch_size=1)
    many = draw_shard(CONFIG, teacher, cache, 0, 5, batch_size=4)
    torch.testing.assert_close(one["latents"], many["latents"], rtol=1e-4, atol=1e-4)


def test_what_is_drawn_already_is_kept_and_other_settings_are_drawn_anew(cache: LatentCache) -> None:
    teacher = tiny_components()
    drawn = draw_together(CONFIG, teacher, cache, 5, 4, World())
    times = [file.stat().st_mtime_ns for file in drawn.files]
    assert draw_together(CONFIG, teacher, cache, 5, 4, World()) == drawn
    assert [file.stat().st_mtime_ns for file in drawn.files] == times
    with torch.no_grad():
        teacher.unet.conv_out.bias += 1
    for other in (
        draw_together(CONFIG, teacher, cache, 5, 4, World()),
        draw_together(replace(CONFIG, synthetic_steps=2), tiny_components(), cache, 5, 4, World()),
        draw_together(CONFIG, tiny_components(), cache, 6, 4, World()),
    ):
        assert not set(other.files) & set(drawn.files)

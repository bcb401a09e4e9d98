from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naruto_add.config import DataConfig
from naruto_add.data import latents
from naruto_add.data.batch import Batch
from naruto_add.data.cache import LatentCache
from naruto_add.data.feed import LocalFeed
from naruto_add.data.order import ids_at
from naruto_add.data.prepare import prepare
from naruto_add.data.shards import Shards
from naruto_add.data.view import View
from naruto_add.errors import UserError
from tests.tiny import SIZE_PX, tiny_components
from tests.unit.data.pictures import folder_of

SEED = 11


@pytest.fixture(scope="module")
def encoded_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shards, LatentCache]:
    """Nineteen encoded training images in shards of eight."""
    root = tmp_path_factory.mktemp("feed")
    source = folder_of(root / "mine", 24)
    (root / "shards").mkdir()
    config = DataConfig(source=str(source), size_px=SIZE_PX, num_heldout=5, shard_images=8)
    prepare(config, 0, root / "shards")
    shards = Shards(root / "shards")
    return shards, latents.encode(shards, "train", tiny_components(), root / "latents", 4, "cpu")


def view(encoded_set: tuple[Shards, LatentCache], batch_size: int, rank: int = 0, world: int = 1) -> View:
    return View(*encoded_set, seed=SEED, batch_size=batch_size, rank=rank, world=world, pixels=True)


def test_a_batch_holds_what_its_ids_say(encoded_set: tuple[Shards, LatentCache]) -> None:
    shards, cache = encoded_set
    batch = next(LocalFeed(view(encoded_set, 6)).batches(30, 36))
    assert batch.positions == list(range(30, 36))
    assert batch.ids == ids_at(SEED, 30, 36, 19)
    assert torch.equal(batch.latents, cache.latents(batch.ids))
    assert torch.equal(batch.text, cache.text(batch.ids))
    assert torch.equal(batch.pooled, cache.pooled(batch.ids))
    assert batch.pixels is not None and batch.pixels.min() >= -1 and batch.pixels.max() <= 1
    assert torch.equal(((batch.pixels + 1) * 127.5).round().byte(), shards.images("train", batch.ids))


def test_pixels_are_read_only_when_asked_for(encoded_set: tuple[Shards, LatentCache]) -> None:
    batch = next(LocalFeed(View(*encoded_set, seed=SEED, batch_size=2)).batches(0, 2))
    assert batch.pixels is None


@given(st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(0, 40), st.integers(1, 60))
def test_every_world_size_sees_the_same_global_batches(
    encoded_set: tuple[Shards, LatentCache], world: int, start: int, images: int
) -> None:
    def global_batches(world: int) -> list[list[tuple[int, int]]]:
        feeds = [LocalFeed(view(encoded_set, 12, rank, world)).batches(start, start + images) for rank in range(world)]
        return [
            [pair for part in parts for pair in zip(part.positions, part.ids, strict=True)]
            for parts in zip(*feeds, strict=True)
        ]

    found = global_batches(world)
    assert found == global_batches(1)
    positions = [position for batch in found for position, _ in batch]
    assert positions == list(range(start, start + -(-images // 12) * 12))


@given(st.lists(st.integers(1, 5), max_size=4))
def test_stopping_and_resuming_repeats_and_skips_nothing(
    encoded_set: tuple[Shards, LatentCache], legs: list[int]
) -> None:
    feed = LocalFeed(view(encoded_set, 4))
    ids, position = [], 0
    for steps in legs:
        for batch in feed.batches(position, position + 4 * steps):
            ids += batch.ids
        position += 4 * steps
    assert ids == ids_at(SEED, 0, position, 19)


def test_an_epoch_shows_every_image_once(encoded_set: tuple[Shards, LatentCache]) -> None:
    feed = LocalFeed(view(encoded_set, 19))
    for batch in feed.batches(0, 57):
        assert sorted(batch.ids) == list(range(19))


def test_nothing_is_left_when_the_end_is_reached(encoded_set: tuple[Shards, LatentCache]) -> None:
    assert list(LocalFeed(view(encoded_set, 4)).batches(40, 40)) == []


def test_workers_that_cannot_share_a_batch_are_told(encoded_set: tuple[Shards, LatentCache]) -> None:
    with pytest.raises(UserError, match="choose a multiple of 3"):
        view(encoded_set, 8, 0, 3)


def test_micro_batches_are_the_batch_in_order(encoded_set: tuple[Shards, LatentCache]) -> None:
    batch = next(LocalFeed(view(encoded_set, 6)).batches(0, 6))
    parts = batch.split(3)
    assert [part.ids for part in parts] == [batch.ids[:2], batch.ids[2:4], batch.ids[4:]]
    for name in ("latents", "text", "pooled", "pixels"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    assert [len(part) for part in parts] == [2, 2, 2]
    with pytest.raises(AssertionError):
        batch.split(4)


def test_a_batch_moves_as_a_whole(encoded_set: tuple[Shards, LatentCache]) -> None:
    batch: Batch = next(LocalFeed(view(encoded_set, 2)).batches(0, 2)).to("cpu", torch.bfloat16)
    assert batch.pixels is not None
    assert {t.dtype for t in (batch.latents, batch.text, batch.pooled, batch.pixels)} == {torch.bfloat16}


def test_the_cache_holds_the_split(encoded_set: tuple[Shards, LatentCache], tmp_path: Path) -> None:
    shards, cache = encoded_set
    assert cache.count == shards.count("train") == 19


def test_read_ahead_batches_are_the_same(encoded_set: tuple[Shards, LatentCache]) -> None:
    seen = view(encoded_set, 4)
    for one, other in zip(LocalFeed(seen, ahead=3).batches(8, 28), LocalFeed(seen).batches(8, 28), strict=True):
        assert one.positions == other.positions and one.ids == other.ids
        assert one.pixels is not None and other.pixels is not None
        assert torch.equal(one.pixels, other.pixels) and torch.equal(one.text, other.text)

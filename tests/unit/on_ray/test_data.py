from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import ray

from naruto_add.config import DataConfig
from naruto_add.data import latents
from naruto_add.data.batch import Batch
from naruto_add.data.feed import LocalFeed
from naruto_add.data.ingest import Item
from naruto_add.data.prepare import Outcome, prepare
from naruto_add.data.shards import Shards
from naruto_add.data.view import View
from naruto_add.errors import UserError
from naruto_add.on_ray.data import ray_map
from naruto_add.on_ray.feed import RayFeed, one_ahead
from tests.tiny import SIZE_PX, tiny_components
from tests.unit.data.pictures import folder_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two CPUs, as on a laptop."""
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


def feed_all(view: View, start: int, stop: int) -> list[Batch]:
    return list(RayFeed(view).batches(start, stop))


def equal(one: Batch, other: Batch) -> bool:
    assert one.pixels is not None and other.pixels is not None
    return (one.positions, one.ids) == (other.positions, other.ids) and all(
        a.equal(b)
        for a, b in (
            (one.latents, other.latents),
            (one.text, other.text),
            (one.pooled, other.pooled),
            (one.pixels, other.pixels),
        )
    )


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_gives_the_bytes_and_batches_of_one_process(tmp_path: Path) -> None:
    """Prepare 150 images (three tasks), then feed two workers at once, across epochs, on the little that they leave."""
    source = folder_of(tmp_path / "mine", 150)
    (source / "a/broken.jpg").write_bytes(b"no image")
    config = DataConfig(source=str(source), size_px=SIZE_PX, num_heldout=50, shard_images=32)
    for name, options in (("here", {}), ("ray", {"mapper": ray_map})):
        (tmp_path / name).mkdir()
        prepare(config, 0, tmp_path / name, **options)
    for path in (tmp_path / "here").iterdir():
        assert path.read_bytes() == (tmp_path / "ray" / path.name).read_bytes(), path.name

    shards = Shards(tmp_path / "ray")
    cache = latents.encode(shards, "train", tiny_components(), tmp_path / "latents", 16, "cpu")
    views = [View(shards, cache, 3, 12, rank, 2, pixels=True) for rank in range(2)]
    worker = ray.remote(num_cpus=0.85)(feed_all)
    for view, found in zip(views, ray.get([worker.remote(view, 24, 324) for view in views]), strict=True):
        expected = list(LocalFeed(view).batches(24, 324))
        assert len(found) == len(expected) == 25
        assert all(map(equal, found, expected))


def fails(message: str, item: Item) -> Outcome:
    raise UserError(f"{message}: {item.name}")


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_users_mistake_in_a_task_is_still_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"^the bucket is gone: one$"):
        list(ray_map(partial(fails, "the bucket is gone"), [Item("one", "one")]))


def test_nothing_to_feed_starts_nothing(tmp_path: Path) -> None:
    view = View(Shards.__new__(Shards), latents.LatentCache("train", (), (), tmp_path), 0, 4)
    assert feed_all(view, 8, 8) == []


def test_each_call_is_made_while_the_caller_works_on_the_one_before() -> None:
    made = [threading.Event() for _ in range(3)]

    def call(number: int) -> int:
        made[number].set()
        return number

    seen = []
    for number in one_ahead([partial(call, number) for number in range(3)]):
        assert all(event.wait(5) for event in made[: number + 2])
        assert not any(event.is_set() for event in made[number + 2 :])
        seen.append(number)
    assert seen == [0, 1, 2]
    assert list(one_ahead([])) == []

"""A distillation in miniature, as the pipeline's own worker does it, in processes that note the order of its data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist

from jobs.havoc.setting import Setting
from naruto_add.artifact import sha256_file
from naruto_add.config import Recipe
from naruto_add.data.batch import Batch
from naruto_add.on_ray.job import Job
from naruto_add.on_ray.workers import distill_worker
from naruto_add.training import checkpoint, loop
from naruto_add.training.guards import TrainingStopped
from naruto_add.training.method import Method
from naruto_add.training.state import TrainState
from naruto_add.training.world import World

ORDER = "order.jsonl"

Order = dict[int, dict[int, list[int]]]
"""The ids of a global batch: by the image it begins at, and the rank."""


def job_of(setting: Setting, place: Path, recipe: Recipe | None = None) -> dict[str, Any]:
    """Distil the tiny base on the tiny shards, all traces in `place`."""
    latents = setting.folder / "latents"
    made = Job(recipe or setting.recipe, str(setting.base), None, setting.shards.path, place, latents, place / "out")
    place.mkdir(parents=True, exist_ok=True)
    return made.to_plain()


def distill(plain: dict[str, Any]) -> int:
    """In a process: train; 2 if training was stopped, 0 if it came to its end."""
    note_order(Path(plain["work"]) / ORDER)
    try:
        distill_worker(plain)
    except TrainingStopped:
        return 2
    return 0


def join(folder: Path, rank: int, size: int, meeting: str) -> None:
    """Make this process one of a gang of `size`; `meeting` names the gang."""
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/{meeting}", rank=rank, world_size=size)


def note_order(path: Path) -> None:
    """In a process: write down the ids of every batch before its step."""
    whole = loop.guarded_step

    def noted(method: Method, batch: Batch, state: TrainState, world: World) -> dict[str, float]:
        """The step and its line."""
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([state.images, world.rank, batch.ids]) + "\n")
        return whole(method, batch, state, world)

    loop.guarded_step = noted


def order_of(place: Path) -> Order:
    """What was written down; a batch that was given twice must have been the same, or its ids are doubled."""
    found: Order = {}
    for line in (place / ORDER).read_text(encoding="utf-8").splitlines():
        images, rank, ids = json.loads(line)
        earlier = found.setdefault(images, {}).setdefault(rank, ids)
        if earlier != ids:
            found[images][rank] = [*earlier, *ids]
    return found


def batches_of(order: Order) -> list[list[int]]:
    """The global batches in order, whatever the number of workers that shared them."""
    return [[number for _, ids in sorted(ranks.items()) for number in ids] for _, ranks in sorted(order.items())]


def once_an_epoch(batches: Sequence[Sequence[int]], count: int) -> bool:
    """Whether no sample comes twice in an epoch of `count`, and each comes in every whole one."""
    ids = [number for batch in batches for number in batch]
    epochs = [ids[start : start + count] for start in range(0, len(ids), count)]
    return all(len(set(epoch)) == len(epoch) for epoch in epochs)


def bits_of(place: Path) -> dict[str, str]:
    """The sha256 of everything that training ends with: state, weights, averages, optimizers, and the student."""
    newest = checkpoint.newest(place / "checkpoints")
    files = [] if newest is None else [path for path in sorted(newest.iterdir()) if path.suffix == ".safetensors"]
    files += [newest / checkpoint.STATE] if newest is not None else []
    files += sorted((place / "out").rglob("*.safetensors"))
    return {str(path.relative_to(place)): sha256_file(path) for path in files}

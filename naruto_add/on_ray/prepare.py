"""The prepare stage with the recipe's resources: the work on single images in this process or on the whole cluster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from transformers import CLIPTokenizer

from naruto_add.config import ComputeConfig, Recipe
from naruto_add.data.ingest import Item
from naruto_add.data.prepare import Mapper, Outcome, prepare
from naruto_add.models.folder import base_folder
from naruto_add.models.quiet import quiet

CHUNK = 16
"""Images that a process is given at once."""


def prepare_shards(recipe: Recipe, folder: Path) -> None:
    """Write the shards of the recipe's images into `folder`; captions are counted in the base's own tokens."""
    base = base_folder(recipe.teacher.base, recipe.teacher.revision)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True)
    with quiet():  # the tokenizer warns of captions that are too long, which are counted here to be cut
        prepare(recipe.data, recipe.seed, folder, mapper(recipe.compute), tokenizer)


def mapper(compute: ComputeConfig) -> Mapper:
    """Python's own map, alone or over as many processes as a worker has threads, or Ray Data's: the same order and
    bytes.
    """
    if compute.launcher == "inline":
        return map if compute.threads_per_worker == 1 else partial(map_in_processes, compute.threads_per_worker)
    from naruto_add.on_ray import cluster
    from naruto_add.on_ray.data import ray_map

    cluster.start(compute)
    return ray_map


def map_in_processes(processes: int, work: Callable[[Item], Outcome], items: Sequence[Item]) -> Iterator[Outcome]:
    """A `Mapper` on processes of this machine."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(work, items, CHUNK)

"""The prepare stage with the recipe's resources: the work on single images in this process or on the whole cluster."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPTokenizer

from naruto_add.config import ComputeConfig, Recipe
from naruto_add.data.prepare import Mapper, prepare
from naruto_add.models.load import base_folder, quiet


def prepare_shards(recipe: Recipe, folder: Path) -> None:
    """Write the shards of the recipe's images into `folder`; captions are counted in the base's own tokens."""
    base = base_folder(recipe.teacher.base, recipe.teacher.revision)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True)
    with quiet():  # the tokenizer warns of captions that are too long, which are counted here to be cut
        prepare(recipe.data, recipe.seed, folder, mapper(recipe.compute), tokenizer)


def mapper(compute: ComputeConfig) -> Mapper:
    """Python's own map, or Ray Data's with the same order and bytes."""
    if compute.launcher == "inline":
        return map
    from naruto_add.on_ray import cluster
    from naruto_add.on_ray.data import ray_map

    cluster.start(compute)
    return ray_map

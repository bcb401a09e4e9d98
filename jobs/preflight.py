"""All that can be known to be wrong before anything heavy is imported or Ray starts, told together.

What only a cluster can tell is asked of it last, when nothing else is wrong and still before any work.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs import console
from jobs.join import join
from naruto_add import recipe as recipes
from naruto_add.config import Recipe
from naruto_add.data import prepare as data
from naruto_add.errors import UserError, raise_all
from naruto_add.models import folder
from naruto_add.on_ray import capacity
from naruto_add.storage import mirror
from naruto_add.training import tracking

TRAINING_COPIES = 10
"""Files of the UNet's size that a run writes: teacher, student, bundle, and for each of the two trainings checkpoints
with weights, average and two moments, one of them being written."""
STORED_BYTES_PER_PIXEL = 2.5
"""Of an image in the shards, its latents and its preview, generously."""


def preflight(recipe: Recipe, run: Path) -> None:
    """Raise UserError that lists every problem of a whole run; warnings go to stderr."""
    problems = [*base_problems(recipe), *head_start_problems(recipe), *training_problems(recipe)]
    space = space_problems(recipe, run)
    problems += [*folder_problems(run), *space, *mirror.check(run)]
    raise_all(problems + ([] if space else data.check(recipe.data, recipe.seed)))
    join(recipe.compute)
    console.warn(recipes.warnings(recipe))


def before_prepare(recipe: Recipe) -> None:
    """As `preflight`, for the one stage."""
    raise_all([*base_problems(recipe), *data.check(recipe.data, recipe.seed)])
    join(recipe.compute, trains=False)


def before_finetune(recipe: Recipe) -> None:
    """As `preflight`, for the one stage."""
    raise_all([*base_problems(recipe), *training_problems(recipe)])
    join(recipe.compute)


def before_distill(recipe: Recipe) -> None:
    """As `preflight`, for the one stage."""
    raise_all([*head_start_problems(recipe), *training_problems(recipe)])
    join(recipe.compute)


def before_evaluate(recipe: Recipe) -> None:
    """As `preflight`, for the one stage, if workers draw for it."""
    if capacity.examined_by_workers(recipe.compute):
        raise_all(capacity.check(recipe.compute))
        join(recipe.compute)


def before_plan(recipe: Recipe, run: Path, elsewhere: bool) -> list[str]:
    """What would stop the run, to be told with other mistakes; `elsewhere`: on a machine that is not this one.

    Data that is not on this machine is no mistake here, since a plan may be made anywhere.
    """
    problems = [*base_problems(recipe), *head_start_problems(recipe), *folder_problems(run)]
    problems += [] if elsewhere else capacity.check(recipe.compute)
    source = recipe.data.source
    here = source == "builtin" or Path(source).expanduser().exists()
    if not here:
        console.warn([f"data.source {source} is not on this machine; the plan is made without looking at it."])
    return problems + (data.check(recipe.data, recipe.seed) if here else [])


def training_problems(recipe: Recipe) -> list[str]:
    """Workers that this machine cannot hold, and trackers that are not there."""
    return [*capacity.check(recipe.compute), *tracking.check(recipe.track)]


def base_problems(recipe: Recipe) -> list[str]:
    """What keeps the base model from being read or from fitting the images."""
    try:
        place = folder.base_place(recipe.teacher.base, recipe.teacher.revision)
    except UserError as error:
        return [f"teacher.{error}"]
    if place is None:
        return []
    found = folder.problems(place)
    return found or list(size_problems(place, recipe.data.size_px))


def size_problems(place: Path, size_px: int) -> Iterator[str]:
    """The UNet halves the latents at each stage but the last, so the image's side must be a multiple."""
    unet, vae = folder.read_json(place / "unet/config.json"), folder.read_json(place / "vae/config.json")
    assert unet is not None and vae is not None, "folder.problems has read them"
    multiple = 2 ** (len(unet["block_out_channels"]) - 1 + autoencoder_halvings(vae))
    if size_px % multiple:
        yield f"data.size_px ({size_px}) must be a multiple of {multiple} for the base {place}."


def autoencoder_halvings(config: dict[str, Any]) -> int:
    """How often the autoencoder halves the image's side."""
    blocks = config.get("encoder_block_out_channels") or config["block_out_channels"]
    return len(blocks) - 1


def head_start_problems(recipe: Recipe) -> list[str]:
    """A head start that is not there."""
    name = recipe.distill.head_start
    file = None if name is None else folder.head_start_folder(name) / folder.HEAD_START_FILE
    if file is None or file.is_file():
        return []
    return [f"distill.head_start {name}: {file} is not there; give a folder, mini or null."]


def folder_problems(run: Path) -> list[str]:
    """A run folder that cannot be one."""
    if run.exists() and not run.is_dir():
        return [f"--run {run} is a file; name a folder."]
    return []


def space_problems(recipe: Recipe, run: Path) -> list[str]:
    """A disk that the run would fill."""
    place = existing_parent(run)
    needed, free = space_needed(recipe), shutil.disk_usage(place).free
    if needed <= free:
        return []
    return [f"{place}: {free / 1e9:.1f} GB free, some {needed / 1e9:.1f} GB needed; free some or choose another --run."]


def space_needed(recipe: Recipe) -> int:
    """Bytes that a run writes, roughly; a hub base counts as Stable Diffusion 1.5.

    Only the built-in universe's images can be counted here; those of other sources are when they are prepared.
    """
    images = (recipe.data.num_images or 0) + recipe.data.num_heldout if recipe.data.source == "builtin" else 0
    return int(images * recipe.data.size_px**2 * STORED_BYTES_PER_PIXEL + TRAINING_COPIES * unet_bytes(recipe))


def unet_bytes(recipe: Recipe) -> float:
    """Size of the base's UNet; that of Stable Diffusion 1.5 where it is not on this machine."""
    try:
        place = folder.base_place(recipe.teacher.base, recipe.teacher.revision)
    except UserError:
        return 0.0
    files = [] if place is None else list((place / "unet").glob("*.safetensors"))
    return sum(file.stat().st_size for file in files) if place else 3.44e9


def existing_parent(path: Path) -> Path:
    """The nearest folder above that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())

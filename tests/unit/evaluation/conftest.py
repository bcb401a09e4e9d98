"""A tiny run to evaluate: drawn shards at 32 px, a tiny teacher, its compact student, and real feature networks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from naruto_add import recipe as recipes
from naruto_add.config import Recipe
from naruto_add.data import universe
from naruto_add.data.shards import Entry, Shards, write_index, write_split
from naruto_add.evaluation.eyes import Eyes, open_eyes
from naruto_add.models.load import save_components
from tests import tiny

CPU = torch.device("cpu")
TRAIN, HELDOUT = 7, 3


def entries(first: int, count: int, known: bool = True) -> Iterator[Entry]:
    """Drawn scenes; `known`: with their attributes."""
    for index in range(first, first + count):
        image, caption, language, scene = universe.draw("ninja", 5, index, tiny.SIZE_PX)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        mentioned = {**universe.judged(scene), "mentioned": list(universe.mentioned(scene, language))}
        meta = {"caption": caption, "language": language, "attributes": mentioned if known else None}
        yield Entry(buffer.getvalue(), "png", meta)


def make_shards(folder: Path, known: bool = True, heldout: int = HELDOUT) -> Shards:
    """A shards folder."""
    folder.mkdir(parents=True)
    splits = {
        "train": write_split(folder, "train", entries(0, TRAIN, known), 4),
        "heldout": write_split(folder, "heldout", entries(100, heldout, known), 4),
    }
    write_index(folder, tiny.SIZE_PX, splits)
    return Shards(folder)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Seven training and three held-out scenes."""
    return make_shards(tmp_path_factory.mktemp("shards") / "shards")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders teacher, base and student, of different weights."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("teacher", "base", "student")):
        components = tiny.tiny_components()
        components.unet = tiny.tiny_unet(seed=seed)
        save_components(components, folder / name)
    return folder


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """The smoke recipe, smaller still."""
    return recipes.load("smoke", {
        "evaluate.num_images": 4, "evaluate.teacher_steps": (4, 2, 1), "evaluate.base_steps": (4,),
        "evaluate.latency_steps": 5, "evaluate.latency_repeats": 1, "evaluate.diversity_prompts": 2,
        "evaluate.batch_size": 3, "evaluate.bootstrap": 20,
    })  # fmt: skip


@pytest.fixture(scope="session")
def eyes(recipe: Recipe) -> Eyes:
    """EfficientNet-Lite1 with its ImageNet weights."""
    return open_eyes(recipe.evaluate, CPU)

"""The work inside the stages: library calls with the resources of the recipe. Importing this imports everything."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from naruto_add import artifact
from naruto_add.artifact import Artifact
from naruto_add.config import Recipe
from naruto_add.data.prepare import Mapper, prepare
from naruto_add.data.shards import Shards
from naruto_add.evaluation.evaluate import REPORT, evaluate
from naruto_add.export.card import write_card
from naruto_add.export.diffusers import write_bundle
from naruto_add.models.load import base_folder, load_components
from naruto_add.on_ray import train
from naruto_add.on_ray.workers import Job, distill_worker, finetune_worker
from naruto_add.training.pace import total_images

LATENTS = "latents"
"""The latent cache, beside the stages' work folders, which share it."""


def make_shards(recipe: Recipe, folder: Path) -> None:
    """Read, check, split and write the recipe's images."""
    base = base_folder(recipe.teacher.base, recipe.teacher.revision)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True)
    prepare(recipe.data, recipe.seed, folder, mapper(recipe), tokenizer)


def mapper(recipe: Recipe) -> Mapper:
    """How single images are worked on: in this process, or by Ray Data on the whole cluster."""
    if recipe.compute.launcher == "inline":
        return map
    from naruto_add.on_ray import cluster
    from naruto_add.on_ray.data import ray_map

    cluster.start(recipe.compute)
    return ray_map


def make_teacher(recipe: Recipe, shards: Path, work: Path, folder: Path) -> None:
    """Fine-tune the base."""
    teacher = recipe.teacher
    job = Job(recipe, teacher.base, teacher.revision, shards.resolve(), *places(work), folder.resolve())
    train.run(recipe.compute, finetune_worker, job.to_plain(), "finetune", job.work, total_images(teacher.optim))


def make_student(recipe: Recipe, teacher: Path, shards: Path, work: Path, folder: Path) -> None:
    """Distil the teacher."""
    job = Job(recipe, str(teacher.resolve()), None, shards.resolve(), *places(work), folder.resolve())
    total = total_images(recipe.distill.optim)
    train.run(recipe.compute, distill_worker, job.to_plain(), "distill", job.work, total)


def places(work: Path) -> tuple[Path, Path]:
    """A training's work folder and the latent cache, as every worker finds them."""
    return work.resolve(), work.resolve().parent / LATENTS


def make_report(recipe: Recipe, student: Path, teacher: Path, shards: Path, work: Path, folder: Path) -> None:
    """Score the student; uses the processor cores that training had."""
    torch.set_num_threads(recipe.compute.workers * recipe.compute.threads_per_worker)
    evaluate(recipe, student, teacher, recipe.teacher.base, Shards(shards), work, folder)


def make_bundle(recipe: Recipe, student: Artifact, report: Artifact, folder: Path) -> None:
    """Write the pipeline folder and its card; the other parents are found beside the student."""
    run = student.path.parent
    timesteps = student.manifest.config["distill"]["student_timesteps"]
    write_bundle(load_components(student.path), len(timesteps), folder)
    kinds = ("shards", "teacher", "student", "report")
    lineage = {kind: artifact.read_manifest(run / kind) for kind in kinds}
    scores = json.loads((report.path / REPORT).read_text(encoding="utf-8"))
    write_card(folder, recipe.export, lineage, scores, Shards(run / "shards").size_px, recipe.prompts[0])

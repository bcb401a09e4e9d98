"""What an evaluation's worker does: each draws its share of the pictures, the first one then looks, scores, times."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from naruto_add.data.shards import Shards
from naruto_add.evaluation.evaluate import evaluate
from naruto_add.evaluation.progress import file_meter
from naruto_add.on_ray.job import Examination
from naruto_add.on_ray.train import PROGRESS
from naruto_add.on_ray.workers import prepare
from naruto_add.training.world import World


def examine_worker(config: dict[str, Any]) -> None:
    """Evaluate the student; rank 0 writes the report to `out`, and its progress to the work folder."""
    job, world = Examination.from_plain(config), World.current()
    prepare(job.recipe.compute)
    models, shards = (job.student, job.teacher, job.base), Shards(job.shards)
    with file_meter(job.work / PROGRESS if world.leads else Path(os.devnull)) as meter:
        evaluate(job.recipe, *models, shards, job.work, job.out, meter, world=world)

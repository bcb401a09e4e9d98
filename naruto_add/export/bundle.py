"""The export stage: pipeline folder and model card."""

from __future__ import annotations

import json
from pathlib import Path

from naruto_add.artifact import Artifact, read_manifest
from naruto_add.config import Recipe
from naruto_add.data.shards import Shards
from naruto_add.export.card import write_card
from naruto_add.export.diffusers import write_bundle
from naruto_add.models.load import load_components

REPORT = "report.json"


def export_bundle(recipe: Recipe, student: Artifact, report: Artifact, folder: Path) -> None:
    """Write the student and its card into `folder`; the student's parents are found beside it."""
    run = student.path.parent
    timesteps = student.manifest.config["distill"]["student_timesteps"]
    write_bundle(load_components(student.path), len(timesteps), folder, recipe.export.half)
    lineage = {kind: read_manifest(run / kind) for kind in ("shards", "teacher")}
    lineage |= {"student": student.manifest, "report": report.manifest}
    scores = json.loads((report.path / REPORT).read_text(encoding="utf-8"))
    write_card(folder, recipe.export, lineage, scores, Shards(run / "shards").size_px, recipe.prompts[0])

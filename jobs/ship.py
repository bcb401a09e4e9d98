"""`python -m jobs.ship --run RUN`: make a run's teacher and student the ones that come with the package.

The teacher in 16 bits with a model card, the bundle as it is, the report that their scores are from, and the student's
training curves. The run must have been exported with `--export.half true`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from jobs.entry import guarded
from jobs.stages import WORK, opened
from naruto_add import artifact
from naruto_add.artifact import MANIFEST, Artifact
from naruto_add.errors import UserError
from naruto_add.shipped import ASSETS

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [text-to-image, naruto-add]
---

# naruto-add `mini` teacher

The `mini` base, fine-tuned on the built-in ninja universe: what the student beside it was distilled from. A plain
Stable Diffusion folder of diffusers, weights in 16 bits. Draw with guidance {guidance:g} and DPM-Solver++ 2M, in 4 to
50 steps.

`../report.json` has the scores of both, the README of the repository says what they mean. The last part of its training
saw {images:,} images; its manifest has the settings, the header of recipe `mini_long` the parts before (digest of the
run's own, in 32 bits: `{digest}`).
"""
CURVES = (("distillation_weighted", "adversarial_weighted"), ("d_real", "d_fake"))


@dataclass(frozen=True)
class Words:
    """Put a run's teacher, bundle, report and curves where the package's own lie."""

    run: Path
    """The run: all its stages done, its bundle in 16 bits."""
    out: Path = ASSETS / "mini"
    """What is there of an earlier call is replaced."""


def main(words: Sequence[str]) -> None:
    """Make everything aside, then replace one after the other."""
    asked = tyro.cli(Words, prog="jobs.ship", args=list(words))
    bundle, report = opened(asked.run, "bundle"), opened(asked.run, "report")
    if not bundle.manifest.config["export"]["half"]:
        raise UserError(f"{bundle.path} is in float32. Run naruto-add export with --export.half True first.")
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.out) as work:
        made = Path(work)
        halved(asked.run, report.manifest.config["evaluate"]["guidance_scale"], made / "teacher")
        shutil.copytree(bundle.path, made / "student")
        for name in ("teacher", "student"):
            place(made / name, asked.out / name)
    shutil.copyfile(report.path / "report.json", asked.out / "report.json")
    draw_curves(asked.run, asked.out / "gallery" / "curves.png")


def halved(run: Path, guidance: float, path: Path) -> Artifact:
    """The run's teacher in float16 with a card, an artifact of its own."""
    from naruto_add.models.load import load_components, save_components

    teacher, shards = opened(run, "teacher"), opened(run, "shards")
    config = teacher.manifest.config

    def make(folder: Path) -> None:
        """Weights and card."""
        import torch

        save_components(load_components(teacher.path), folder, torch.float16)
        images, digest = config["teacher"]["optim"]["images"], teacher.digest[:16]
        text = CARD.format(guidance=guidance, images=images, digest=digest)
        (folder / "README.md").write_text(text, encoding="utf-8")

    stored = {**config, "stored": "float16"}
    return artifact.build(path, kind="teacher", config=stored, parents={"shards": shards}, make=make)


def place(new: Path, path: Path) -> None:
    """Let `new` take the place of the artifact at `path`; raises UserError where that is something else."""
    if path.exists() and not (path / MANIFEST).is_file():
        raise UserError(f"{path} is not an artifact of naruto-add; move it away or choose another --out.")
    shutil.rmtree(path, ignore_errors=True)
    new.rename(path)
    for file in path.rglob("*.safetensors"):
        file.chmod(0o644)  # diffusers leaves them to their owner alone


def draw_curves(run: Path, out: Path) -> None:
    """One PNG of the student's loss terms and the heads' logits against images seen; none for a mean of students."""
    from matplotlib.figure import Figure

    from naruto_add.evaluation.curves import records, thinned

    recorded = records(run / WORK, "distill")
    if not recorded:
        return
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axis, names in zip(figure.subplots(1, len(CURVES)), CURVES, strict=True):
        for name in names:
            axis.plot(*zip(*thinned(recorded, name), strict=True), label=name)
        axis.set_xlabel("images seen")
        axis.legend()
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

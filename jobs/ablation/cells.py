"""One training of the ablation and its scores: ordinary stages in a run folder of their own, skipped where current.

- RUN/shards, RUN/teacher: shared by all
- RUN/pilots/VARIANT: a few steps, to know a variant's pace
- RUN/variants/VARIANT/seed-0: student and scores of one training
- RUN/scores: the teacher and the floors
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from jobs import stages
from jobs.ablation.variants import RANDOM, Variant, trained
from jobs.stages import WORK, opened
from naruto_add.artifact import Artifact, link, link_or_copy, write_json
from naruto_add.config import Recipe
from naruto_add.errors import UserError

if TYPE_CHECKING:
    from naruto_add.evaluation.examiner import Examiner
    from naruto_add.evaluation.painters import Painter

LATENTS = "latents"
SCORES, PACE, METRICS = "scores.json", "pace.json", "metrics.jsonl"
Make = Callable[[Path, Path], None]
PILOT_STEPS, SETTLING_STEPS = 12, 4
"""Steps of a pilot, and the first of them, which are not counted: caches and memory are still cold."""
NEVER = 1e9
"""A logit gap that no pilot reaches: it is to be timed, not stopped."""


@dataclass(frozen=True)
class Ground:
    """What all trainings share."""

    recipe: Recipe
    run: Path
    shards: Artifact
    teacher: Artifact

    @property
    def steps(self) -> tuple[int, int]:
        """The step counts that are scored: the student's most and fewest."""
        return max(self.recipe.evaluate.student_steps), min(self.recipe.evaluate.student_steps)


def lay_ground(recipe: Recipe, run: Path, teacher_run: Path | None) -> Ground:
    """Prepare and fine-tune in `run`, or take both from another run; raises UserError if they do not match."""
    if teacher_run is None:
        shards = stages.prepare(recipe, run)
        return Ground(recipe, run, shards, stages.finetune(recipe, run, shards))
    shards, teacher = opened(teacher_run, "shards"), opened(teacher_run, "teacher")
    if teacher.manifest.parents["shards"] != shards.digest:
        raise UserError(
            f"--teacher-run {teacher_run}: its teacher was trained on other shards than those there now. "
            f"Run `naruto-add finetune --run {teacher_run}` again, or leave --teacher-run out."
        )
    adopt_latents(teacher_run, run)
    return Ground(recipe, run, link(shards, run / "shards"), link(teacher, run / "teacher"))


def adopt_latents(teacher_run: Path, run: Path) -> None:
    """Links to the other run's encoded images, which need not be encoded again; their names say what they hold."""
    shared = run / WORK / LATENTS
    shared.mkdir(parents=True, exist_ok=True)
    for file in (teacher_run / WORK / LATENTS).glob("*.safetensors"):
        if not (shared / file.name).exists():
            link_or_copy(str(file), str(shared / file.name))


def pace(ground: Ground, variant: Variant, seed: int) -> float:
    """Seconds of training for one image, the median of a few steps; measured once."""
    folder, batch = ground.run / "pilots" / variant.name, ground.recipe.distill.optim.batch_size
    pilot = replace(variant, changes={**variant.changes, "distill.collapse_gap": NEVER})
    student = train(ground, folder, pilot, PILOT_STEPS * batch, seed)

    def measure(out: Path, work: Path) -> None:
        seconds = [record["seconds"] for record in records(folder, student)][SETTLING_STEPS:]
        write_json(out / PACE, {"seconds_per_image": median(seconds) / batch})

    found = stages.stage("pace", folder, "pace", {}, {"student": student}, measure)
    return read(found.path / PACE)["seconds_per_image"]


def budgets(ground: Ground, variants: Sequence[Variant], images: int, by_time: bool, seed: int) -> dict[str, int]:
    """Training images of each variant: `images`, or as many as take the time of the first variant's `images`.

    Time is that of the steps; what a method prepares once (a teacher's drawings) is not in it.
    """
    if not by_time:
        return {variant.name: images for variant in variants}
    paces = {variant.name: pace(ground, variant, seed) for variant in variants}
    budget, batch = images * paces[variants[0].name], ground.recipe.distill.optim.batch_size
    return {name: max(1, round(budget / each / batch)) * batch for name, each in paces.items()}


def cell(ground: Ground, variant: Variant, images: int, seed: int) -> dict[str, Any]:
    """Train a variant with one seed and score it: what its scores.json holds."""
    folder = place(ground, variant, seed)
    student = train(ground, folder, variant, images, seed)

    def make(out: Path, work: Path) -> None:
        write_json(out / SCORES, {**training(folder, student), **student_scores(ground, student)})

    return score(ground, folder, {"student": student}, make)


def place(ground: Ground, variant: Variant, seed: int) -> Path:
    """The run folder of one training."""
    return ground.run / "variants" / variant.name / f"seed-{seed}"


def attempt(ground: Ground, variant: Variant, images: int, seed: int) -> tuple[dict[str, Any] | None, str]:
    """As `cell`, but a training that the health gate has given up is a result too: None, and why."""
    from naruto_add.training.guards import TrainingStopped

    try:
        return cell(ground, variant, images, seed), ""
    except TrainingStopped as stopped:
        if not gave_up(place(ground, variant, seed)):
            raise
        return None, str(stopped)


def gave_up(folder: Path) -> bool:
    """Whether the newest training in this run folder has collapsed for good."""
    from naruto_add.training.rollback import COLLAPSES

    newest = max((folder / WORK).glob(f"distill-*/{METRICS}"), key=lambda path: path.stat().st_mtime)
    notes = newest.with_name(COLLAPSES)
    return notes.is_file() and json.loads(notes.read_text(encoding="utf-8").splitlines()[-1])["back_to"] is None


def yardsticks(ground: Ground) -> dict[str, Any]:
    """The teacher at its most steps and at the student's, and the floors, which scores are read against."""

    def make(out: Path, work: Path) -> None:
        write_json(out / SCORES, teacher_scores(ground))

    return score(ground, ground.run, {"teacher": ground.teacher}, make)


def train(ground: Ground, folder: Path, variant: Variant, images: int, seed: int) -> Artifact:
    """The student of one training, in a run folder that shares the latent cache; no checkpoint of it is kept."""
    share_latents(ground.run, folder)
    recipe = trained(ground.recipe, variant, images, seed)
    if recipe.distill.head_start == RANDOM:
        start = random_start(ground, recipe)
        recipe = replace(recipe, distill=replace(recipe.distill, head_start=str(start)))
    student = stages.distill(recipe, folder, ground.teacher, ground.shards)
    shutil.rmtree(work_of(folder, student) / "checkpoints", ignore_errors=True)  # several times the student's size
    return student


def share_latents(run: Path, folder: Path) -> None:
    """Let the latents that a training encodes lie where all others find them."""
    shared, place = run / WORK / LATENTS, folder / WORK / LATENTS
    shared.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(shared.resolve(), target_is_directory=True)


def random_start(ground: Ground, recipe: Recipe) -> Path:
    """A head start that leaves nothing of the teacher, made once for each size and seed."""
    folder = ground.run.resolve() / RANDOM / f"{recipe.distill.size}-{recipe.seed}"
    if not folder.is_dir():
        from naruto_add.models.load import load_components
        from naruto_add.models.student import save_random_start

        partial = folder.with_name(f".{folder.name}.partial")
        save_random_start(load_components(ground.teacher.path).unet, recipe.distill.size, recipe.seed, partial)
        os.replace(partial, folder)
    return folder


def score(ground: Ground, folder: Path, parents: Mapping[str, Artifact], make: Make) -> dict[str, Any]:
    """The scores in `folder`, made unless they are current; the evaluate section decides."""
    config = {**stages.decisive(ground.recipe, "evaluate"), "precision": ground.recipe.compute.precision}
    found = stages.stage("score", folder, "scores", config, {**parents, "shards": ground.shards}, make)
    return read(found.path / SCORES)


def training(folder: Path, student: Artifact) -> dict[str, Any]:
    """What the training took."""
    metrics = records(folder, student)
    seconds = sum(record["seconds"] for record in metrics) if metrics else None
    return {"images": student.manifest.config["distill"]["optim"]["images"], "seconds": seconds}


def student_scores(ground: Ground, student: Artifact) -> dict[str, Any]:
    """The student's rows, and its size."""
    from naruto_add.evaluation.painters import FewStepPainter
    from naruto_add.models.load import load_components

    examiner = open_examiner(ground)
    timesteps = student.manifest.config["distill"]["student_timesteps"]
    painter = FewStepPainter("student", load_components(student.path), examiner.easel, timesteps)
    return {"unet_parameters": parameters(painter), "rows": rows(examiner, [(painter, n) for n in ground.steps])}


def teacher_scores(ground: Ground) -> dict[str, Any]:
    """The teacher's rows and the floors, and with what and on what they were scored."""
    from naruto_add.evaluation.hardware import describe_hardware
    from naruto_add.evaluation.painters import GuidedPainter
    from naruto_add.models.load import load_components

    examiner, config = open_examiner(ground), ground.recipe.evaluate
    painter = GuidedPainter("teacher", load_components(ground.teacher.path), examiner.easel, config.guidance_scale)
    entries = [(painter, steps) for steps in sorted({max(config.teacher_steps), *ground.steps}, reverse=True)]
    floors = {name: found.to_json() for name, found in examiner.floors(painter).items()}
    return {
        "unet_parameters": parameters(painter),
        "extractors": examiner.observer.eyes.describe(),
        "hardware": describe_hardware(examiner.observer.eyes.device),
        "rows": {**rows(examiner, entries), **floors},
    }


def open_examiner(ground: Ground) -> Examiner:
    """The project's own evaluation, its pictures in a folder that all trainings share."""
    import torch

    from naruto_add.data.shards import Shards
    from naruto_add.evaluation.examiner import Examiner, open_observer

    torch.set_num_threads(ground.recipe.compute.workers * ground.recipe.compute.threads_per_worker)
    work = ground.run / WORK / "scores"
    return Examiner(ground.recipe, Shards(ground.shards.path), open_observer(ground.recipe), work)


def rows(examiner: Examiner, entries: Sequence[tuple[Painter, int]]) -> dict[str, Any]:
    """Scores as report.json has them."""
    return {name: found.to_json() for name, found in examiner.models(entries).items()}


def parameters(painter: Painter) -> int:
    """Of the UNet."""
    return sum(p.numel() for p in painter.components.unet.parameters())


def work_of(folder: Path, student: Artifact) -> Path:
    """The work folder of a training."""
    return folder / WORK / f"distill-{student.manifest.key[:12]}"


def records(folder: Path, student: Artifact) -> list[dict[str, float]]:
    """The steps of a training, from its metrics.jsonl; none where the work folder is gone."""
    path = work_of(folder, student) / METRICS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))

"""The five stages: each takes artifacts and gives one, and is skipped where that one is there already.

The key of an artifact is made of what decides its content: the digests of its parents and the settings that
`DECIDES_NOTHING` does not name. More workers, another checkpoint interval or another ZeRO stage change when a result
is there, not what it is (up to the rounding of sums), so they do not invalidate it; the precision does.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jobs import console, submitted
from naruto_add import artifact
from naruto_add.artifact import Artifact
from naruto_add.config import Recipe
from naruto_add.errors import UserError, raise_all
from naruto_add.models.folder import HEAD_START_FILE, TOKENIZER_FILES, base_digest, head_start_folder
from naruto_add.on_ray.capacity import examined_by_workers
from naruto_add.storage import checkpoints, mirror

DECIDES_NOTHING = {
    "data": ("s3_endpoint", "max_rejected"),
    "teacher": (),
    "distill": ("measure_images", "measure_pictures", "survey_pictures"),
    "evaluate": ("batch_size",),
    "export": (),
}
"""Settings of a section that do not change its result."""
PACE = ("accumulation", "checkpoint_images", "preview_images", "gradient_checkpointing")
"""Settings of an optimizer that do not change its result."""
WORK = ".work"
"""What may be resumed or deleted: checkpoints, latent cache, metrics, previews."""


def prepare(recipe: Recipe, run: Path) -> Artifact:
    """Captioned images -> verified shards. The recipe's data section, its seed and the base's tokenizer decide."""
    config = {
        **decisive(recipe, "data"),
        "source_files": fingerprint(recipe.data.source),
        "tokenizer": base_digest(recipe.teacher.base, recipe.teacher.revision, TOKENIZER_FILES),
    }

    def make(folder: Path, work: Path) -> None:
        from naruto_add.on_ray.prepare import prepare_shards

        prepare_shards(recipe, folder)

    return stage("prepare", run, "shards", config, {}, make)


def finetune(recipe: Recipe, run: Path, shards: Artifact) -> Artifact:
    """Shards -> teacher. The teacher section, the base's content, seed and precision decide."""
    config = {
        **decisive(recipe, "teacher"),
        "base": base_digest(recipe.teacher.base, recipe.teacher.revision),
        "student_size": recipe.distill.size if recipe.teacher.compact_share else None,
        "precision": recipe.compute.precision,
    }

    def make(folder: Path, work: Path) -> None:
        from naruto_add.on_ray.train import PROFILE, train_teacher

        train_teacher(recipe, shards.path.resolve(), work, folder)
        console.profile("finetune", work / PROFILE)

    return stage("finetune", run, "teacher", config, {"shards": shards}, make)


def distill(recipe: Recipe, run: Path, teacher: Artifact, shards: Artifact) -> Artifact:
    """Teacher and shards -> few-step student. The distill section, the head start, seed and precision decide."""

    def make(folder: Path, work: Path) -> None:
        from naruto_add.on_ray.train import PROFILE, train_student

        train_student(recipe, teacher.path.resolve(), shards.path.resolve(), work, folder)
        console.profile("distill", work / PROFILE)

    parents = {"teacher": teacher, "shards": shards}
    return stage("distill", run, "student", distill_config(recipe), parents, make)


def evaluate(recipe: Recipe, run: Path, student: Artifact, teacher: Artifact, shards: Artifact) -> Artifact:
    """Student, teacher and shards -> report. The evaluate section, the golden prompts and the seed decide."""
    made = as_made(recipe, student, teacher)
    config = {
        **decisive(made, "evaluate"),
        "prompts": list(made.prompts),
        "base": base_digest(made.teacher.base, made.teacher.revision),
        "precision": made.compute.precision,
    }

    def make(folder: Path, work: Path) -> None:
        base, paths = made.teacher.base, (student.path, teacher.path)
        if examined_by_workers(recipe.compute):
            from naruto_add.on_ray.train import examine_student

            examine_student(made, *paths, base, shards.path, work, folder)
            return
        import torch

        from naruto_add.data.shards import Shards
        from naruto_add.evaluation.evaluate import evaluate as score

        torch.set_num_threads(recipe.compute.workers * recipe.compute.threads_per_worker)
        score(made, *paths, base, Shards(shards.path), work, folder)

    return stage("evaluate", run, "report", config, {"student": student, "teacher": teacher, "shards": shards}, make)


def export(recipe: Recipe, run: Path, student: Artifact, report: Artifact) -> Artifact:
    """Student and report -> bundle. The export section decides."""

    def make(folder: Path, work: Path) -> None:
        from naruto_add.export.bundle import export_bundle

        export_bundle(recipe, student, report, folder)

    return stage("export", run, "bundle", decisive(recipe, "export"), {"student": student, "report": report}, make)


def distill_config(recipe: Recipe) -> dict[str, Any]:
    """What decides a student beside its parents."""
    return {
        **decisive(recipe, "distill"),
        "head_start": head_start_digest(recipe.distill.head_start),
        "precision": recipe.compute.precision,
    }


def work_folder(run: Path, verb: str, key: str) -> Path:
    """Where a stage keeps what its artifact with this key is made from."""
    return run / WORK / f"{verb}-{key[:12]}"


def stage(
    verb: str,
    run: Path,
    kind: str,
    config: Mapping[str, Any],
    parents: Mapping[str, Artifact],
    make: Callable[[Path, Path], None],
) -> Artifact:
    """Build `run/kind` with `make(folder, work)` unless it is current, and say so; the work folder outlives a kill.

    Where the run mirrors a storage, both are kept there too.
    """
    key = artifact.plan(kind, config, parents).key
    work = work_folder(run, verb, key)
    if mirror.fetch_current(run, kind, key):
        console.say("fetched", f"{kind} fetched from the storage", kind=kind)

    def checked(folder: Path) -> None:
        """Make it, of parents whose every bit is as it was made; shards are hashed where they are read."""
        for parent in parents.values():
            if parent.manifest.kind != "shards":
                artifact.verify(parent)
        with checkpoints.kept(run, work):
            make(folder.resolve(), work.resolve())

    with console.stage(verb, run / kind, artifact.is_current(run / kind, key)):
        made = artifact.build(run / kind, kind=kind, config=config, parents=parents, make=checked)
        mirror.send(run, kind)
        checkpoints.drop(run, work)
    return made


def opened(run: Path, kind: str) -> Artifact:
    """An artifact that an earlier stage has made; raises UserError that names the stage if it is not there."""
    mirror.fetch_newer(run, kind)
    return artifact.open_artifact(run / kind, kind)


@contextmanager
def occupied(run: Path) -> Iterator[None]:
    """While inside, no other process of this machine may work in this run; raises UserError if one does already.

    So it does if the run mirrors a storage where nothing can be kept.
    """
    raise_all(mirror.check(run))
    if (store := mirror.store_of(run)) is not None:
        console.say("mirror", f"{store.place.uri} is worked on in {run}", uri=store.place.uri, path=str(run))
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"--run {run}: another naruto-add is at work there; wait for it or stop it.") from error
        submitted.tell(run)
        yield


def decisive(recipe: Recipe, section: str) -> dict[str, Any]:
    """The settings of a section that decide its result, and the seed."""
    values = {k: v for k, v in asdict(getattr(recipe, section)).items() if k not in DECIDES_NOTHING[section]}
    if "optim" in values:
        values["optim"] = {k: v for k, v in values["optim"].items() if k not in PACE}
    return {section: values, "seed": recipe.seed}


def fingerprint(source: str) -> str | None:
    """A hash of names, sizes and times of a local source's files; None for what is not on this machine."""
    path = Path(source).expanduser()
    if source == "builtin" or not path.exists():
        return None
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    entries = [f"{p.relative_to(path)} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]
    return hashlib.sha256("\n".join(entries).encode("utf-8", "surrogateescape")).hexdigest()  # any file name


def head_start_digest(name: str | None) -> str | None:
    """The hash of a head start's file; None without one, or where it is missing (which the stage will say)."""
    file = None if name is None else head_start_folder(name) / HEAD_START_FILE
    return artifact.sha256_file(file) if file is not None and file.is_file() else None


def as_made(recipe: Recipe, student: Artifact, teacher: Artifact) -> Recipe:
    """The recipe with what the run's own teacher and student were made of, whatever flags later stages get."""
    made, distilled = teacher.manifest.config["teacher"], student.manifest.config["distill"]
    return replace(
        recipe,
        teacher=replace(recipe.teacher, base=made["base"], revision=made["revision"]),
        distill=replace(recipe.distill, student_timesteps=tuple(distilled["student_timesteps"])),
    )

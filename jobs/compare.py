"""`python -m jobs.compare --run RUN --students mini A/student --teachers mini`: models beside each other.

`evaluate` tells how good a run's student is; this scores any number of students, bundles and teachers with the same
captions, noises and real images, those of RUN's shards. Stopped anywhere, the same command goes on: what is drawn stays
in `RUN/.work/compare`, and nothing of it is drawn twice, not even by a call with more models or pictures.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jobs import console
from jobs.entry import guarded
from jobs.stages import WORK, opened
from naruto_add import recipe as recipes
from naruto_add.artifact import Artifact, open_artifact, write_json
from naruto_add.config import Recipe
from naruto_add.errors import UserError, raise_all
from naruto_add.models.folder import problems, read_json
from naruto_add.shipped import ASSETS

if TYPE_CHECKING:
    from naruto_add.evaluation.examiner import Examiner
    from naruto_add.evaluation.painters import Painter
    from naruto_add.evaluation.scores import Score


@dataclass(frozen=True)
class Words:
    """Score several models beside each other."""

    run: Path
    """The run whose held-out images are the reference; it is only read, but for its work folder."""
    students: tuple[str, ...] = ()
    """Students or bundles, folders; `mini` is the one that ships."""
    teachers: tuple[str, ...] = ()
    """Teachers or bases, folders; `mini` is the one that ships."""
    student_steps: tuple[int, ...] = (4, 1)
    """Steps of each student."""
    teacher_steps: tuple[int, ...] = (50, 4)
    """Steps of each teacher; a step is two passes under guidance."""
    num_images: int | None = None
    """Pictures of each; default: the recipe's."""
    recipe: str = "mini"
    """Whose evaluation: networks, guidance, seed, diversity, precision, threads."""
    out: Path = Path("runs/compare.json")
    """The scores, with what they depend on."""


def main(words: Sequence[str]) -> None:
    """Check all, then draw and score one model after the other."""
    asked = tyro.cli(Words, prog="python -m jobs.compare", args=list(words))
    shards, recipe = opened(asked.run, "shards"), configured(asked)
    students, teachers = places(asked.students, "student"), places(asked.teachers, "teacher")
    raise_all(mistakes(asked, students, teachers))
    names = told_apart(students + teachers)

    import torch

    from naruto_add.data.shards import Shards
    from naruto_add.evaluation.examiner import Examiner, open_observer

    torch.set_num_threads(recipe.compute.workers * recipe.compute.threads_per_worker)
    examiner = Examiner(recipe, Shards(shards.path), open_observer(recipe), asked.run / WORK / "compare")
    models = [*((few_step, place, asked.student_steps) for place in students)]
    models += [*((guided, place, asked.teacher_steps) for place in teachers)]
    scores: dict[str, Score] = {}
    for open_painter, place, steps in models:
        painter = open_painter(place, examiner)
        floors = {} if scores else examiner.floors(painter)
        found = zip(steps, examiner.models([(painter, n) for n in steps]).values(), strict=True)
        scores = {**floors, **scores, **{f"{names[place]}@{n}": score for n, score in found}}
    report(asked.out, examiner, shards, {row: found.to_json() for row, found in scores.items()})


def report(out: Path, examiner: Examiner, shards: Artifact, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Write and show the scores."""
    from naruto_add.evaluation.hardware import describe_hardware

    recipe, eyes = examiner.recipe, examiner.observer.eyes
    settings = {"seed": recipe.seed, "shards": shards.digest, **asdict(recipe.evaluate)}
    out.parent.mkdir(parents=True, exist_ok=True)
    depends = {"settings": settings, "extractors": eyes.describe(), "hardware": describe_hardware(eyes.device)}
    write_json(out, {"scores": scores, **depends})
    console.closing(scores, {"All figures, and what they depend on:": str(out)})


def configured(asked: Words) -> Recipe:
    """The recipe with the number of pictures that was asked for."""
    return recipes.load(asked.recipe, {} if asked.num_images is None else {"evaluate.num_images": asked.num_images})


def places(names: Sequence[str], kind: str) -> list[Path]:
    """The folders, each once."""
    found = (ASSETS / "mini" / kind if name == "mini" else Path(name) for name in names)
    return list(dict.fromkeys(place.resolve() for place in found))


def mistakes(asked: Words, students: Sequence[Path], teachers: Sequence[Path]) -> list[str]:
    """What is wrong with the words and the folders, as far as their JSON files tell."""
    found = [] if students or teachers else ["Nothing to compare: name --students, --teachers or both."]
    found += [f"{place}: named as a student and as a teacher; name it once." for place in set(students) & set(teachers)]
    for flag, steps in (("--student-steps", asked.student_steps), ("--teacher-steps", asked.teacher_steps)):
        found += [f"{flag} {n}: it takes at least 1." for n in steps if n < 1]
    broken = {place: problems(place) for place in dict.fromkeys([*students, *teachers])}
    found += [text for texts in broken.values() for text in texts]
    whole = (place for place in students if not broken[place])
    return found + [text for place in whole for text in unknown_steps(place, asked.student_steps)]


def told_apart(places: Sequence[Path]) -> dict[Path, str]:
    """A short name for each: the end of its path, as much of it as tells all apart."""
    for depth in itertools.count(1):
        names = ["-".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            return dict(zip(places, names, strict=True))
    raise AssertionError("they are different paths")


def few_step(place: Path, examiner: Examiner) -> Painter:
    """A student or bundle, ready to draw; under one name for all, or pictures would be drawn again under another."""
    from naruto_add.evaluation.painters import FewStepPainter
    from naruto_add.models.load import load_components

    return FewStepPainter("student", load_components(place), examiner.easel, timesteps_of(place))


def guided(place: Path, examiner: Examiner) -> Painter:
    """A teacher or base, ready to draw with the recipe's guidance."""
    from naruto_add.evaluation.painters import GuidedPainter
    from naruto_add.models.load import load_components

    return GuidedPainter("teacher", load_components(place), examiner.easel, examiner.recipe.evaluate.guidance_scale)


def unknown_steps(place: Path, steps: Sequence[int]) -> list[str]:
    """What is wrong with a folder as a student that shall draw in so many steps."""
    try:
        known = len(timesteps_of(place))
    except UserError as error:
        return [str(error)]
    return [f"--student-steps {n}: {place} knows 1 to {known}." for n in steps if n > known]


def timesteps_of(place: Path) -> tuple[int, ...]:
    """The timesteps that a student was trained at: as its manifest says, or of a bundle its scheduler; UserError."""
    scheduler = read_json(place / "scheduler" / "scheduler_config.json") or {}
    count = scheduler.get("original_inference_steps")
    if scheduler.get("_class_name") == "LCMScheduler" and count:
        return tuple(scheduler["num_train_timesteps"] * (k + 1) // count - 1 for k in range(count))
    return tuple(open_artifact(place, "student").manifest.config["distill"]["student_timesteps"])


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

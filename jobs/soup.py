"""`python -m jobs.soup --run RUN --students A/student B/student --shares 0.3 0.7`: the mean of students' weights.

Students that started alike and were trained with different settings, or for different times, can be averaged (model
soups, Wortsman et al. 2022, arXiv 2203.05482): one that follows its prompt and one that draws sharply in a single step
give one that does most of both. The result is RUN's student: evaluate and export go on from it. RUN needs the shards
and the teacher of theirs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from jobs.entry import guarded
from jobs.stages import occupied, opened
from naruto_add import artifact
from naruto_add.artifact import Artifact
from naruto_add.errors import raise_all


@dataclass(frozen=True)
class Words:
    """Average students of one teacher."""

    run: Path
    """The run whose student the mean will be."""
    students: tuple[Path, ...]
    """Students, each the folder of that name in its run."""
    shares: tuple[float, ...]
    """How much of each; the sum is 1."""


def main(words: Sequence[str]) -> None:
    """Check, average, commit."""
    asked = tyro.cli(Words, prog="jobs.soup", args=list(words))
    with occupied(asked.run):
        parents = {kind: opened(asked.run, kind) for kind in ("teacher", "shards")}
        students = [artifact.open_artifact(path, "student") for path in asked.students]
        raise_all([*miscounted(asked), *strangers(students, parents["teacher"])])
        shares = dict(zip([student.digest for student in students], asked.shares, strict=True))
        config = {**students[-1].manifest.config, "soup": shares}

        def make(folder: Path) -> None:
            """The mean in the last one's folder."""
            average([student.path for student in students], asked.shares, folder)

        artifact.build(asked.run / "student", kind="student", config=config, parents=parents, make=make)


def miscounted(asked: Words) -> list[str]:
    """What is wrong with the numbers."""
    found = []
    if len(asked.students) < 2 or len(asked.students) != len(asked.shares):
        found.append(f"--students {len(asked.students)}, --shares {len(asked.shares)}: give two or more, and as many.")
    if not math.isclose(sum(asked.shares), 1, abs_tol=1e-6):
        found.append(f"--shares {' '.join(map(str, asked.shares))}: the sum is {sum(asked.shares):g}; it must be 1.")
    return found


def strangers(students: Sequence[Artifact], teacher: Artifact) -> list[str]:
    """What is wrong where one was cut out of another teacher."""
    return [
        f"{student.path}: of another teacher than {teacher.path}; only students that started alike can be averaged."
        for student in students
        if student.manifest.parents["teacher"] != teacher.digest
    ]


def average(places: Sequence[Path], shares: Sequence[float], folder: Path) -> None:
    """Write the mean of the UNets with the last one's other parts into `folder`."""
    from naruto_add.models.load import load_components, save_components

    members = [load_components(place) for place in places]
    weights = [member.unet.state_dict() for member in members]
    mean = {
        name: sum((share * each[name] for share, each in zip(shares, weights, strict=True)), start=0 * tensor)
        for name, tensor in weights[-1].items()
    }
    members[-1].unet.load_state_dict(mean)
    save_components(members[-1], folder)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))

"""The whole pipeline, in the one sentence that the project is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs import console
from jobs.arguments import parse
from jobs.entry import run_verb
from jobs.stages import distill, evaluate, export, finetune, occupied, prepare
from naruto_add.artifact import Artifact
from naruto_add.config import Recipe

DEMO_PROMPT = "Naruto meditating on a mountain under the sunset"


def pipeline(recipe: Recipe, run: Path) -> Artifact:
    """Captioned images -> shards -> teacher -> student -> report -> bundle; stages that are current are skipped."""
    shards = prepare(recipe, run)
    teacher = finetune(recipe, run, shards)
    student = distill(recipe, run, teacher, shards)
    report = evaluate(recipe, run, student, teacher, shards)
    return export(recipe, run, student, report)


def main(words: Sequence[str]) -> None:
    """`run`: check everything, then run the pipeline and close with its scores."""
    arguments = parse("run", words)
    from jobs.preflight import preflight  # not before the settings are in order: it looks at images

    preflight(arguments.recipe, arguments.run)
    with occupied(arguments.run):
        bundle = pipeline(arguments.recipe, arguments.run)
    scores = json.loads((arguments.run / "report" / "report.json").read_text(encoding="utf-8"))["scores"]
    console.closing(scores, what_next(arguments.run, bundle))


def what_next(run: Path, bundle: Artifact) -> dict[str, str]:
    """What a user may want to do now: purpose -> command."""
    draw = f'naruto-add generate "{DEMO_PROMPT}" --bundle {bundle.path} --steps 4 --seed 7 --out naruto.png'
    return {
        "Look at the pictures, in a browser:": f"{(run / 'report' / 'index.html').resolve()}",
        "Draw your own:": draw,
        "The same with your own captioned images:": (
            "naruto-add run --recipe mini --run runs/mine --data.source FOLDER --data.num-heldout 50"
        ),
        "Longer training, and every other setting:": "naruto-add run --help",
    }


if __name__ == "__main__":
    sys.exit(run_verb("run", sys.argv[1:]))

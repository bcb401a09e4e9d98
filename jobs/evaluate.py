"""`ray job submit ... -- python -m jobs.evaluate --recipe NAME_OR_FILE --run DIR`: scores, floors and pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.arguments import parse
from jobs.entry import run_verb
from jobs.stages import evaluate, occupied, opened


def main(words: Sequence[str]) -> None:
    """Score the student of the run against its teacher, the base and held-out images."""
    arguments = parse("evaluate", words)
    run = arguments.run
    from jobs.preflight import before_evaluate

    before_evaluate(arguments.recipe)
    with occupied(run):
        evaluate(arguments.recipe, run, opened(run, "student"), opened(run, "teacher"), opened(run, "shards"))


if __name__ == "__main__":
    sys.exit(run_verb("evaluate", sys.argv[1:]))

"""`ray job submit ... -- python -m jobs.distill --recipe NAME_OR_FILE --run DIR`: teacher -> few-step student."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.arguments import parse
from jobs.entry import run_verb
from jobs.stages import distill, occupied, opened


def main(words: Sequence[str]) -> None:
    """Distil the teacher of the run into a compact student."""
    arguments = parse("distill", words)
    run = arguments.run
    from jobs.preflight import before_distill

    before_distill(arguments.recipe)
    with occupied(run):
        distill(arguments.recipe, run, opened(run, "teacher"), opened(run, "shards"))


if __name__ == "__main__":
    sys.exit(run_verb("distill", sys.argv[1:]))

"""`ray job submit ... -- python -m jobs.finetune --recipe NAME_OR_FILE --run DIR`: shards -> teacher."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.arguments import parse
from jobs.entry import run_verb
from jobs.stages import finetune, occupied, opened


def main(words: Sequence[str]) -> None:
    """Fine-tune the teacher on the shards of the run."""
    arguments = parse("finetune", words)
    run = arguments.run
    from jobs.preflight import before_finetune

    before_finetune(arguments.recipe)
    with occupied(run):
        finetune(arguments.recipe, run, opened(run, "shards"))


if __name__ == "__main__":
    sys.exit(run_verb("finetune", sys.argv[1:]))

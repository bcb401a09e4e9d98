"""`ray job submit ... -- python -m jobs.export --recipe NAME_OR_FILE --run DIR`: a diffusers folder with its card."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.arguments import parse
from jobs.entry import run_verb
from jobs.stages import export, occupied, opened


def main(words: Sequence[str]) -> None:
    """Export the student of the run."""
    arguments = parse("export", words)
    run = arguments.run
    with occupied(run):
        export(arguments.recipe, run, opened(run, "student"), opened(run, "report"))


if __name__ == "__main__":
    sys.exit(run_verb("export", sys.argv[1:]))

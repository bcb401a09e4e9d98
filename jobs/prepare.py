"""`ray job submit ... -- python -m jobs.prepare --recipe NAME_OR_FILE --run DIR`: captioned images -> shards."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs import console
from jobs.arguments import PrepareWords, parse_words
from jobs.entry import run_verb
from jobs.stages import occupied, prepare

SHEET = "shards.png"


def main(words: Sequence[str]) -> None:
    """Prepare the shards of the run; with --show also a contact sheet beside them."""
    arguments = parse_words("prepare", words, PrepareWords)
    recipe, run = arguments.recipe, arguments.run
    from jobs.preflight import before_prepare
    from naruto_add.data.contact import contact_sheet
    from naruto_add.data.shards import Shards

    before_prepare(recipe)
    with occupied(run):
        shards = prepare(recipe, run)
    if arguments.words.show:
        contact_sheet(Shards(shards.path), run / SHEET)
        console.say("sheet", f"contact sheet: {run / SHEET}", path=str(run / SHEET))


if __name__ == "__main__":
    sys.exit(run_verb("prepare", sys.argv[1:]))

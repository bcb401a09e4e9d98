"""`naruto-add VERB ...`: one verb a stage, `run` for all of them, `generate` for a picture.

Nothing heavy is imported before a verb's settings are known to be in order, so that help and complaints are instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.entry import VERBS, run_verb
from naruto_add import __version__

USAGE = """usage: naruto-add VERB ...

{verbs}

`naruto-add VERB --help` lists a verb's settings. First steps:
  naruto-add run --recipe mini --run runs/demo
  naruto-add generate "Naruto meditating on a mountain under the sunset" --out naruto.png
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code: 0 done, 2 the user's mistake, 1 ours, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0 if words else 2
    if words[0] == "--version":
        sys.stdout.write(f"naruto-add {__version__}\n")
        return 0
    return run_verb(words[0], words[1:])


def usage() -> str:
    """The overview of the verbs."""
    width = max(map(len, VERBS))
    return USAGE.format(verbs="\n".join(f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items()))

"""The two kinds of failure: the user's (UserError, exit code 2) and ours (anything else, exit code 1)."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake that the user can mend: says what, where, why and the next action; shown without a traceback."""


def raise_all(problems: Sequence[str]) -> None:
    """Raise one UserError that lists every problem, so that they can be mended in one go; none: return."""
    if not problems:
        return
    if len(problems) == 1:
        raise UserError(problems[0])
    listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
    raise UserError(f"{len(problems)} problems:\n{listed}")

"""The two kinds of failure: the user's (UserError, exit code 2) and ours (anything else, exit code 1)."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
DOWN = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV)


class UserError(Exception):
    """A mistake that the user can mend: says what, where, why and the next action; shown without a traceback."""


@contextmanager
def storage_trouble() -> Iterator[None]:
    """Within it, a disk that is full, closed to us or gone is a UserError, whichever library has met it."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise_storage(error.errno, f"{error.filename or 'a file'}: {error.strerror}", error)
        raise
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        raise_storage(int(code[1]) if code else None, str(error), error)
        raise


def raise_storage(code: int | None, what: str, cause: Exception) -> None:
    """Raise UserError if the code is one of storage; return if it is not."""
    cures = {FULL: "Free some space", CLOSED: "Make it writable, or choose another folder", DOWN: "Bring it back"}
    for codes, cure in cures.items():
        if code in codes:
            raise UserError(f"{what}. Nothing half-written is used. {cure}; the same command goes on.") from cause


def raise_all(problems: Sequence[str]) -> None:
    """Raise one UserError that lists every problem, so that they can be mended in one go; none: return."""
    if not problems:
        return
    if len(problems) == 1:
        raise UserError(problems[0])
    listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
    raise UserError(f"{len(problems)} problems:\n{listed}")

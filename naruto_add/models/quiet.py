"""No chatter of the model libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOGS = ("diffusers.utils.logging", "transformers.utils.logging")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings about harmless config keys while the libraries load and save.

    A library that is not loaded yet is left so: importing one only to silence it would take seconds.
    """
    logs = [sys.modules[name] for name in LOGS if name in sys.modules]
    levels = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.set_verbosity(level)
            log.enable_progress_bar()

"""How large and how busy this machine is, and how much memory a call takes."""

from __future__ import annotations

import ctypes
import gc
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""See proc(5): the peak starts again from what is used now."""


def cores_and_load() -> dict[str, Any]:
    """Cores that this process may use, and the load averages over 1, 5 and 15 minutes."""
    return {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()}


def memory_of(call: Callable[[], object]) -> float:
    """How far the process's memory rises above what it was while `call` runs, in MB; free memory is given back first.

    Linux alone tells.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text(RESET_PEAK)
    before = status_mb("VmRSS")
    call()
    return status_mb("VmHWM") - before


def status_mb(name: str) -> float:
    """An entry of this process's status, in MB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None, f"no {name} in {STATUS}"
    return int(found[1]) / 1024

"""Whether workers and Ray Data fit beside each other: plain arithmetic, to be asked before Ray is loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from naruto_add.config import ComputeConfig

READ_CPUS = 0.25
"""Ray's reservation for reading training rows: light work that must find a place beside the training workers."""
MIN_CPUS = 2
"""What a local Ray is told to have at least: the trainers' half and a place for Ray Data."""


def check(compute: ComputeConfig) -> list[str]:
    """What would hang for lack of CPUs on this machine, before anything starts; a cluster is asked when it runs."""
    if compute.launcher != "ray" or compute.address is not None:
        return []
    return starvation({"CPU": local_cpus()}, compute.workers, compute.cpus_per_worker)


def local_cpus() -> int:
    """The CPUs that a local Ray is told to have."""
    return max(os.cpu_count() or 1, MIN_CPUS)


def starvation(cluster: Mapping[str, float], workers: int, cpus_per_worker: float) -> list[str]:
    """Whether training workers would leave no CPU for Ray Data, which then waits for ever without a word.

    `cluster` is `ray.cluster_resources()`.
    """
    cpus = cluster.get("CPU", 0.0)
    left = cpus - workers * cpus_per_worker
    if left >= READ_CPUS * workers:
        return []
    fits = max(0.0, math.floor((cpus / workers - READ_CPUS) * 20) / 20)
    advice = f"Set compute.cpus_per_worker to {fits:g}" if fits > 0 else "Set compute.workers to fewer"
    return [
        f"{workers} workers with {cpus_per_worker:g} CPUs each leave {max(0.0, left):g} of {cpus:g} CPUs for Ray Data, "
        f"which needs {READ_CPUS * workers:g}; training would wait for ever. {advice}, or add machines."
    ]

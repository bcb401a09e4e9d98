"""Whether workers and Ray Data fit beside each other: plain arithmetic, to be asked before Ray is loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from naruto_add.config import ComputeConfig

READ_CPUS = 0.25
"""Ray's reservation for reading training rows: light work that must find a place beside the training workers."""
TRIAL_CPUS = 0.1
"""Ray's reservation for a trial's own process, which waits for its workers; Tune wants more than none."""
MIN_CPUS = 2
"""What a local Ray is told to have at least: the trainers' half and a place for Ray Data."""
JOB_ADDRESS = "RAY_ADDRESS"
"""Set by Ray in the jobs that it runs."""
ROUNDING = 1e-6
"""Ray counts in ten-thousandths; 0.1 + 0.2 is not 0.3 here."""

Node = Mapping[str, float]
"""A machine's resources, as Ray names them: CPU, GPU."""


def is_ours(compute: ComputeConfig) -> bool:
    """Whether Ray is ours to start: no cluster is named, and this is no job of one."""
    return compute.address is None and not os.environ.get(JOB_ADDRESS)


def examined_by_workers(compute: ComputeConfig) -> bool:
    """Whether workers draw for an evaluation: where they have GPUs, or a cluster is joined.

    A Ray of our own has the processors that this process uses all of, and takes half a minute to start.
    """
    return compute.launcher == "ray" and (compute.gpus_per_worker > 0 or not is_ours(compute))


def check(compute: ComputeConfig) -> list[str]:
    """What would hang for lack of CPUs on this machine, before anything starts; a cluster is asked when joined."""
    if compute.launcher != "ray" or not is_ours(compute):
        return []
    workers = max(compute.workers, compute.finetuning.workers)
    return starvation([{"CPU": local_cpus()}], workers, compute.cpus_per_worker)


def local_cpus() -> int:
    """The CPUs that a local Ray is told to have."""
    return max(os.cpu_count() or 1, MIN_CPUS)


def shortage(nodes: Sequence[Node], compute: ComputeConfig) -> list[str]:
    """What the machines lack: places for all workers, and CPUs beside them for Ray Data."""
    workers, each = compute.workers, {"CPU": compute.cpus_per_worker, "GPU": compute.gpus_per_worker}
    fit = sum(places(node, each) for node in nodes)
    if each["GPU"] and fit < workers:
        most = [sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")]
        return [
            f"{workers} workers with {each['GPU']:g} GPUs and {each['CPU']:g} CPUs each, and only {fit} of them fit on "
            f"the cluster's machines ({len(nodes)}, with {most[0]:g} CPUs and {most[1]:g} GPUs in all). Lower "
            "compute.workers, compute.gpus_per_worker or compute.cpus_per_worker, or add machines; where the cluster "
            "starts them when they are asked for, set compute.cluster_grows."
        ]
    return starvation(nodes, workers, compute.cpus_per_worker, compute.gpus_per_worker)


def starvation(nodes: Sequence[Node], workers: int, cpus: float, gpus: float = 0.0) -> list[str]:
    """Whether workers of so many CPUs would find no place, or leave none for Ray Data, which waits without a word."""
    left = beside(nodes, workers, {"CPU": cpus, "GPU": gpus})
    if left is not None and left >= READ_CPUS * workers - ROUNDING:
        return []
    total = sum(node.get("CPU", 0.0) for node in nodes)
    fits = largest(nodes, workers, gpus)
    advice = f"Set compute.cpus_per_worker to {fits:g}" if fits else "Set compute.workers to fewer"
    return [
        f"{workers} workers with {cpus:g} CPUs each leave {left or 0.0:g} of {total:g} CPUs for Ray Data, "
        f"which needs {READ_CPUS * workers:g}; training would wait for ever. {advice}, or add machines."
    ]


def trial_needs(compute: ComputeConfig) -> dict[str, float]:
    """CPUs and GPUs of one trial of a sweep: its own process, its training workers, and Ray Data beside them."""
    if compute.launcher == "inline":
        return {"CPU": max(compute.cpus_per_worker, compute.threads_per_worker), "GPU": compute.gpus_per_worker}
    cpus = TRIAL_CPUS + compute.workers * (compute.cpus_per_worker + READ_CPUS)
    return {"CPU": cpus, "GPU": compute.workers * compute.gpus_per_worker}


def trials_at_once(cluster: Mapping[str, float], compute: ComputeConfig) -> int:
    """How many trials fit beside each other. More would wait for each other's workers for ever."""
    needs = {name: need for name, need in trial_needs(compute).items() if need > 0}
    return min(math.floor(cluster.get(name, 0.0) / need + ROUNDING) for name, need in needs.items())


def check_sweep(compute: ComputeConfig, parallel: int | None, cluster: Mapping[str, float] | None = None) -> list[str]:
    """Whether so many trials (None: as many as fit) can run at once; `cluster` None: on this machine, before Ray.

    A cluster is asked when it runs, and so is this machine about its GPUs.
    """
    if cluster is None:
        if not is_ours(compute):
            return []
        cluster = {"CPU": local_cpus(), "GPU": math.inf}
    fit = trials_at_once(cluster, compute)
    if fit >= (parallel or 1):
        return []
    needs, has = (", ".join(f"{d.get(n, 0.0):g} {n}s" for n in ("CPU", "GPU")) for d in (trial_needs(compute), cluster))
    lower = "Lower compute.workers, cpus_per_worker or threads_per_worker"
    advice = f"Set --parallel to {fit} or fewer" if fit else lower
    return [f"{parallel or 1} trials at once of {needs} each do not fit into {has}. {advice}, or add machines."]


def beside(nodes: Sequence[Node], workers: int, each: Node) -> float | None:
    """CPUs for Ray Data on machines filled with workers one after the other; None if not all find a place."""
    left = 0.0
    for node in sorted(nodes, key=lambda node: -node.get("GPU", 0.0)):
        here = min(workers, places(node, each))
        workers -= here
        rest = node.get("CPU", 0.0) - here * each["CPU"]
        left += math.floor(rest / READ_CPUS + ROUNDING) * READ_CPUS
    return None if workers else left


def places(node: Node, each: Node) -> int:
    """How many workers find a place on a machine."""
    return min(math.floor(node.get(name, 0.0) / need + ROUNDING) for name, need in each.items() if need)


def largest(nodes: Sequence[Node], workers: int, gpus: float) -> float:
    """The largest `compute.cpus_per_worker` that fits, in twentieths; 0 if none does."""
    most = math.floor(20 * max((node.get("CPU", 0.0) for node in nodes), default=0.0))
    for twentieths in range(most, 0, -1):
        left = beside(nodes, workers, {"CPU": twentieths / 20, "GPU": gpus})
        if left is not None and left >= READ_CPUS * workers - ROUNDING:
            return twentieths / 20
    return 0.0

"""Ray on this machine or a cluster that is there already: started quietly, with the settings that workers need."""

from __future__ import annotations

import os

import ray

from naruto_add.config import ComputeConfig
from naruto_add.errors import raise_all
from naruto_add.on_ray.data import starvation

MIN_CPUS = 2
"""What a local Ray is told to have at least: the trainers' half and a place for Ray Data."""
TRAIN_ENV = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_METRICS_ENABLED": "0"}
"""How soon Ray Train sees that workers have started or ended; and no metrics for a dashboard that is not there."""
LARGEST_HEAP_BLOCK = 32 * 2**20


def worker_env(compute: ComputeConfig) -> dict[str, str]:
    """Environment of the training workers.

    Threads are set before any library counts cores. glibc keeps buffers of up to 32 MiB (its limit) and does not give
    memory back at every step, which cost a third of the time in page faults. DeepSpeed takes the CPU without a GPU.
    """
    threads = str(compute.threads_per_worker)
    env = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    env |= {"MALLOC_MMAP_THRESHOLD_": str(LARGEST_HEAP_BLOCK), "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    env |= {"TOKENIZERS_PARALLELISM": "false", "TORCHDYNAMO_DISABLE": "1"}  # nothing of ours is compiled
    return env if compute.gpus_per_worker else env | {"DS_ACCELERATOR": "cpu"}


def start(compute: ComputeConfig) -> None:
    """Join the cluster at `compute.address`, or start Ray here (no dashboard, loopback only); once per process."""
    if ray.is_initialized():
        return
    os.environ.update(TRAIN_ENV)
    if compute.address is not None:
        ray.init(address=compute.address, logging_level="ERROR", log_to_driver=False)
        return
    cpus = local_cpus()
    ray.init(num_cpus=cpus, include_dashboard=False, logging_level="ERROR", log_to_driver=False)


def local_cpus() -> int:
    """The CPUs that a local Ray is told to have."""
    return max(os.cpu_count() or 1, MIN_CPUS)


def check(compute: ComputeConfig) -> list[str]:
    """What would hang or fail for lack of CPUs or GPUs, before anything starts; for a cluster, see `require`."""
    if compute.launcher != "ray" or compute.address is not None:
        return []
    return starvation({"CPU": local_cpus()}, compute.workers, compute.cpus_per_worker)


def require(compute: ComputeConfig) -> None:
    """Raise UserError if the running cluster cannot hold the workers and Ray Data beside them."""
    resources = ray.cluster_resources()
    problems = starvation(resources, compute.workers, compute.cpus_per_worker)
    gpus = compute.workers * compute.gpus_per_worker
    if gpus > resources.get("GPU", 0.0):
        problems.append(
            f"{compute.workers} workers with {compute.gpus_per_worker:g} GPUs each need {gpus:g}; the cluster has "
            f"{resources.get('GPU', 0.0):g}. Lower compute.workers or compute.gpus_per_worker."
        )
    raise_all(problems)

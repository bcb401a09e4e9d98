"""Ray on this machine or a cluster that is there already: started quietly, with the settings that workers need."""

from __future__ import annotations

import os

import ray

from naruto_add.config import ComputeConfig
from naruto_add.errors import raise_all
from naruto_add.on_ray.capacity import local_cpus, starvation

TRAIN_ENV = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_METRICS_ENABLED": "0"}
"""How soon Ray Train sees that workers have started or ended; and no metrics for a dashboard that is not there."""
JOB_ADDRESS = "RAY_ADDRESS"
"""Set by Ray in the jobs that it runs."""
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
    """Join the cluster at `compute.address` (or of the Ray job that this is), or start Ray here; once per process.

    A Ray of our own has no dashboard, keeps Ray's token authentication, and ends with this process; another one that
    happens to run on this machine is left alone.
    """
    if ray.is_initialized():
        return
    os.environ.update(TRAIN_ENV)
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    if is_ours(compute):
        ray.init(address="local", num_cpus=local_cpus(), include_dashboard=False, **quiet)
    else:
        ray.init(address=compute.address or os.environ[JOB_ADDRESS], **quiet)


def is_ours(compute: ComputeConfig) -> bool:
    """Whether Ray is ours to start: no cluster is named, and this is no job of one."""
    return compute.address is None and JOB_ADDRESS not in os.environ


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

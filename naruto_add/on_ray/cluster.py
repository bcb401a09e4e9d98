"""Ray on this machine or a cluster that is there already: started quietly, with the settings that workers need."""

from __future__ import annotations

import os
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from naruto_add.config import ComputeConfig
from naruto_add.errors import UserError, raise_all
from naruto_add.on_ray import capacity
from naruto_add.on_ray.capacity import JOB_ADDRESS, is_ours, local_cpus

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


def start(compute: ComputeConfig) -> str | None:
    """Join the cluster at `compute.address` (or of the Ray job that this is), or start Ray here; once per process.

    A Ray of our own has no dashboard, keeps Ray's token authentication, and ends with this process; another one that
    happens to run on this machine is left alone. Returns HOST:PORT of the dashboard of a cluster that is joined now and
    has one. Raises UserError if no cluster answers, or it refuses the token.
    """
    if ray.is_initialized():
        return None
    os.environ.update(TRAIN_ENV)
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    if is_ours(compute):
        ray.init(address="local", num_cpus=local_cpus(), include_dashboard=False, **quiet)
        return None
    return join(compute.address or os.environ[JOB_ADDRESS], quiet)


def join(address: str, quiet: dict[str, Any]) -> str | None:
    """Join the cluster there and return where its dashboard is; raises UserError."""
    try:
        return ray.init(address=address, **quiet).dashboard_url or None
    except AuthenticationError as error:
        raise UserError(
            f"compute.address {address}: the cluster refuses this token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN "
            "or ~/.ray/auth_token to the cluster's."
        ) from error
    except ConnectionError as error:
        raise UserError(
            f"compute.address {address}: no Ray cluster answers there. Start one (cluster/README.md), or set "
            "compute.address None to start Ray on this machine."
        ) from error


def shortage(compute: ComputeConfig) -> list[str]:
    """What the running cluster lacks for the workers and Ray Data beside them; nothing for one that grows on demand."""
    if compute.cluster_grows:
        return []
    return capacity.shortage([node["Resources"] for node in ray.nodes() if node["Alive"]], compute)


def require(compute: ComputeConfig) -> None:
    """Raise UserError for a `shortage`."""
    raise_all(shortage(compute))

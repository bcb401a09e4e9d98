"""Joining a cluster that is there, before a stage begins: what only it can tell is told now, not hours later."""

from __future__ import annotations

from jobs import console, submitted
from naruto_add.config import ComputeConfig
from naruto_add.errors import raise_all
from naruto_add.on_ray import capacity


def join(compute: ComputeConfig, trains: bool = True) -> None:
    """Join the recipe's cluster (or that of the job that this is) and say where its dashboard is.

    Raises UserError if it does not answer, or if the workers of a stage that `trains` do not fit. Nothing happens where
    Ray is ours to start, or is not used.
    """
    if compute.launcher != "ray" or capacity.is_ours(compute):
        return
    from naruto_add.on_ray import cluster

    tell(cluster.start(compute))
    raise_all(cluster.shortage(compute) if trains else [])


def tell(dashboard: str | None) -> None:
    """Where to watch, at the job's own page if this is one."""
    if dashboard is None:
        return
    job = submitted.job_id()
    url = f"http://{dashboard}" + (f"/#/jobs/{job}" if job else "")
    console.say("dashboard", f"dashboard  {url}", url=url)

"""The application on Ray Serve: the same on a laptop (`naruto-add serve`), by `serve deploy`, and on KubeRay."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from pydantic import TypeAdapter, ValidationError
from ray import serve as ray_serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig, HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp

from naruto_add.errors import UserError, raise_all
from naruto_add.storage import fetched
from serve.door import CALLBACK, VARIABLE
from serve.settings import Replicas, Settings, renamed

if TYPE_CHECKING:
    from serve.memory import Result

NAME = "naruto-add"
MAX_ONGOING = 512
"""Requests that Ray hands to a copy at once: far more than it draws, so that it refuses the rest itself, at once and
in OpenAI's shape."""
LOOK_BACK_S = (12.0, 30.0)
"""Least and most seconds over which Ray averages requests in progress; between them it is as long as a copy may be
idle, which would otherwise outlive that. Ray counts every ten seconds, and wants two counts; its default is the most.
"""
SURGE_PERCENT = 25
"""Of the copies, those that an update starts before it stops as many old ones; at least one, so that requests never
wait for a copy that is loading."""
SWITCH_S = 0.0005
"""How long the engine may keep the interpreter while a request waits for it; Python's default is ten times that."""
LARGEST_HEAP_BLOCK = 32 * 2**20
"""glibc's own limit."""
Section = TypeVar("Section", Settings, Replicas)


class RemoteDesk:
    """A `serve.desk.Desk` in an actor that all copies find by its name; the first one makes it."""

    def __init__(self, settings: Settings) -> None:
        from serve.desk import OwnDesk

        actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=2)(OwnDesk)
        self._actor = actor.options(
            name=f"{NAME}-desk", namespace="serve", lifetime="detached", get_if_exists=True
        ).remote(settings)

    async def wait_s(self, caller: str, pictures: int) -> int:
        """See `Desk`."""
        return await self._actor.wait_s.remote(caller, pictures)

    async def keep(self, data: bytes, media_type: str) -> str:
        """See `Desk`."""
        return await self._actor.keep.remote(data, media_type)

    async def fetch(self, name: str) -> Result | None:
        """See `Desk`."""
        return await self._actor.fetch.remote(name)

    async def texts(self) -> dict[str, str]:
        """See `Desk`."""
        return await self._actor.texts.remote()

    def report(self, copy: str, text: str) -> None:
        """Send a copy's metrics, without waiting."""
        self._actor.report.remote(copy, text)


@ray_serve.ingress()
class Copy:
    """One copy of the application. Ray sends it requests once its constructor is done: once it has drawn a picture."""

    def __init__(self, settings: Settings, shared: bool) -> None:
        # Only here: whoever starts the copies needs no torch, and starts seconds sooner without.
        from serve import logs
        from serve.studio import Studio

        sys.setswitchinterval(SWITCH_S)
        logs.configure(settings.log_file)
        self.desk = RemoteDesk(settings) if shared else None
        self.studio = Studio(settings, self.desk, ray_serve.get_replica_context().replica_tag)
        self.studio.open()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        from serve.app import create_app

        behind_door = os.environ.get(VARIABLE) == CALLBACK
        return create_app(self.studio, echo_id=False, behind_door=behind_door)  # Ray puts the id into the answer

    def check_health(self) -> None:
        """Ray asks this every few seconds, and replaces a copy that raises; time for the others to hear its metrics."""
        if self.studio.status != "ok":
            raise RuntimeError(f"this copy is {self.studio.status}")
        if self.desk is not None:
            self.desk.report(self.studio.metrics.replica, self.studio.metrics.text())

    def __del__(self) -> None:
        self.studio.close()


def application(args: Mapping[str, Any]) -> ray_serve.Application:
    """What `serve run serve.deployment:application` and a config's `import_path` name; `args` are Settings' fields,
    and `replicas` those of Replicas. Raises UserError that lists what is wrong with them.

    A bundle on s3:// is looked up once, here: all copies then fetch the same version, each machine for itself.
    """
    rest = dict(args)
    replicas = read_section(Replicas, rest.pop("replicas", {}))
    return bind(renamed(read_section(Settings, rest), fetched.pinned), replicas)


def read_section(schema: type[Section], values: Mapping[str, Any]) -> Section:
    """The values as settings, raises UserError."""
    try:
        return TypeAdapter(schema).validate_python(dict(values))
    except ValidationError as error:
        raise_all([f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()])
        raise


def bind(settings: Settings, replicas: Replicas) -> ray_serve.Application:
    """The application, ready to run."""
    deployment = ray_serve.deployment(
        Copy,
        name=NAME,
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=MAX_ONGOING,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        autoscaling_config=AutoscalingConfig(
            min_replicas=replicas.min_replicas,
            initial_replicas=max(1, replicas.min_replicas),
            max_replicas=replicas.max_replicas,
            target_ongoing_requests=replicas.target_ongoing,
            upscale_delay_s=5,
            look_back_period_s=min(LOOK_BACK_S[1], max(LOOK_BACK_S[0], replicas.idle_s)),
            downscale_delay_s=replicas.idle_s,
            downscale_to_zero_delay_s=replicas.idle_s,
        ),
        health_check_period_s=5,
        max_surge_percent=SURGE_PERCENT,
        graceful_shutdown_timeout_s=replicas.drain_s,
        graceful_shutdown_wait_loop_s=0.5,
        max_constructor_retry_count=3,
        logging_config=LoggingConfig(enable_access_log=False),
        ray_actor_options={"num_cpus": settings.threads},
    )
    return deployment.bind(settings, shared=replicas.max_replicas > 1)


def start(settings: Settings, replicas: Replicas, host: str, port: int) -> None:
    """Run it on this machine, in a Ray of its own; returns when it has drawn its first picture. Raises UserError."""
    os.environ.update(environment(settings))
    ray.init(
        address="local",
        num_cpus=cores(settings, replicas),
        include_dashboard=False,
        logging_level="ERROR",
    )
    ray_serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host=host, port=port, request_timeout_s=None),
        logging_config=LoggingConfig(log_level="ERROR", enable_access_log=False),
    )
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        exchange(settings, replicas)
    except RuntimeError as error:
        stop()
        raise UserError(f"The server did not start; why stands above. ({error})") from error


def exchange(settings: Settings, replicas: Replicas) -> None:
    """Run copies with these settings; where some run already, one by one in their place, each of which finishes its
    requests first. Returns when all do; raises RuntimeError where new ones do not start, and the old ones then stay.
    """
    ray_serve.run(bind(settings, replicas), name=NAME, route_prefix="/")


def environment(settings: Settings) -> dict[str, str]:
    """For the workers of a Ray of ours: threads that fit, an allocator that keeps the memory of a pass for the next,
    every line of the log. On a cluster `cluster/serve.yaml` says the same.
    """
    return {
        "OMP_NUM_THREADS": str(settings.threads),
        "MALLOC_MMAP_THRESHOLD_": str(LARGEST_HEAP_BLOCK),
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_DEDUP_LOGS": "0",
        "RAY_enable_metrics_collection": "0",  # /metrics has what is needed
        VARIABLE: CALLBACK,
        "RAY_worker_niceness": "0",  # by default Ray lets everything else on the machine go first
    }


def cores(settings: Settings, replicas: Replicas) -> int:
    """CPUs that Ray may give away: those of the machine, or what the copies ask for if that is more: in an update
    there are as many new ones as `SURGE_PERCENT` allows beside all old ones.
    """
    most = replicas.max_replicas + -(-replicas.max_replicas * SURGE_PERCENT // 100)
    return max(os.cpu_count() or 1, settings.threads * most)


def stop() -> None:
    """Drain and stop."""
    ray_serve.shutdown()
    ray.shutdown()

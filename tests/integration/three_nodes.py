"""A Ray cluster of three raylets on this machine: python -m tests.integration.three_nodes DASHBOARD_PORT

A head without CPUs and two workers with one each. It says `ready` when the job server listens, and ends with its stdin.
A process of its own, since Ray reads its token once. The environment decides whether a token is asked for.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

SPARING = {"include_log_monitor": False, "object_store_memory": 100_000_000}


def main() -> None:
    """Start, wait, end."""
    dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": int(sys.argv[1])}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "no_monitor": True, **dashboard, **SPARING})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **SPARING)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()

"""Whether a Ray cluster answers, asked with time limits only."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from urllib.parse import urlsplit

from jobs.checkup import Finding

ASK = """
import json, sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print(json.dumps(ray.cluster_resources()))
"""
CONNECT_SECONDS = 5
ADVICE = "start the cluster, mend the address (--address or RAY_ADDRESS), or leave both out"


def ray_cluster(address: str | None, limit_s: float) -> Finding:
    """The cluster at `address`, else at RAY_ADDRESS; none asked for is fine, a run then starts its own."""
    found = address or os.environ.get("RAY_ADDRESS")
    if not found:
        return Finding("ray cluster", "none named: a run starts its own")
    if not listens(found):
        return Finding("ray cluster", "unreachable", f"Nothing listens at the Ray address: {ADVICE}.")
    if found.startswith(("http://", "https://")):
        return Finding("ray cluster", "its job server listens")
    return ask(found, limit_s)


def listens(address: str) -> bool:
    """Whether somebody accepts connections there; `auto` and the like name no place to ask."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.hostname is None or parts.port is None:
            return ":" not in address
        with socket.create_connection((parts.hostname, parts.port), CONNECT_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def ask(address: str, limit_s: float) -> Finding:
    """Join the cluster in a process that is ended when the time is up, and tell what it has."""
    command = [sys.executable, "-c", ASK, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return Finding("ray cluster", "silent", f"The Ray cluster did not answer within {limit_s:g} s: {ADVICE}.")
    if done.returncode != 0:
        return Finding("ray cluster", "refused", f"There is no Ray cluster to join, or another version's: {ADVICE}.")
    resources = json.loads(done.stdout.splitlines()[-1])
    return Finding("ray cluster", f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")

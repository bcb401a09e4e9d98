"""`naruto-add doctor`: whether this machine is fit for a run, and a block to paste into a bug report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from jobs import checkup
from jobs.entry import run_verb
from naruto_add.errors import raise_all


@dataclass(frozen=True)
class Words:
    """Examine this machine. Exit code 0: nothing stands in the way; 2: something does, and what to do is said."""

    run: str = "runs"
    """The run's folder, or s3://bucket/prefix: its disk is measured, and a small file written, read and deleted."""
    address: str | None = None
    """The Ray cluster to ask: HOST:PORT, auto, ray://HOST:PORT. Default: RAY_ADDRESS, if it is set."""
    ray_seconds: float = 30.0
    """How long to wait for the cluster's answer."""
    s3_endpoint: str | None = None
    """Another S3-compatible endpoint, e.g. http://127.0.0.1:9000."""


def main(words: Sequence[str]) -> None:
    """Examine, print the block, and raise UserError with all that stands in the way."""
    asked = tyro.cli(Words, prog="naruto-add doctor", args=list(words))
    from jobs.preflight import existing_parent
    from jobs.reach_ray import ray_cluster

    place = Path.cwd() if asked.run.startswith("s3://") else existing_parent(Path(asked.run))
    findings = [
        *checkup.versions(),
        *checkup.machine(place),
        ray_cluster(asked.address, asked.ray_seconds),
        checkup.storage(asked.run, asked.s3_endpoint),
    ]
    sys.stdout.write(block(findings) + "\n")
    raise_all([finding.problem for finding in findings if finding.problem])
    sys.stdout.write("Nothing stands in the way.\n")


def block(findings: Sequence[checkup.Finding]) -> str:
    """The findings as a fenced block of Markdown; what stands in the way is marked."""
    width = max(len(finding.name) for finding in findings)
    lines = [f"{'!' if one.problem else ' '} {one.name:{width}}  {one.value}" for one in findings]
    return "\n".join(["```", *lines, "```"])


if __name__ == "__main__":
    sys.exit(run_verb("doctor", sys.argv[1:]))

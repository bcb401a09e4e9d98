"""Submit jobs one after another and tell what came of them; a process of its own, since Ray reads its token once.

Reads [[entrypoint, working folder], ...] from stdin, writes [{id, status, logs}, ...] to stdout. It stops at a failure.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient


def submit(client: JobSubmissionClient, entrypoint: str, folder: str) -> str:
    """The job's id. A cluster that has just begun may have no agent to run jobs yet, and says to try again."""
    for patience in range(60, -1, -1):
        try:
            return client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": folder})
        except RuntimeError as refused:
            if patience == 0 or "try again later" not in str(refused):
                raise
            time.sleep(1)
    raise AssertionError("the last try returns or raises")


def finished(client: JobSubmissionClient, job: str) -> dict[str, Any]:
    """Wait for the end of a job."""
    while not (status := client.get_job_status(job)).is_terminal():
        time.sleep(0.3)
    return {"id": job, "status": status.value, "logs": client.get_job_logs(job)}


def main() -> None:
    """Submit what stdin says."""
    client, told = JobSubmissionClient(os.environ["RAY_API_SERVER_ADDRESS"]), []
    for entrypoint, folder in json.load(sys.stdin):
        told.append(finished(client, submit(client, entrypoint, folder)))
        if told[-1]["status"] != JobStatus.SUCCEEDED:
            break
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()

"""What a Ray job knows of itself, and what it leaves in its run so that one is found from the other.

Ray tells a job its id by the environment alone, so nothing of Ray is imported here.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from jobs import console

CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray's job server in the processes that it starts."""
JOBS = "jobs.jsonl"
"""In a run's folder: the jobs that have worked there."""


def job_id() -> str | None:
    """The id that `ray job submit` has printed for this process, e.g. raysubmit_...; None where it is no job."""
    config = json.loads(os.environ.get(CONFIG, "{}"))
    return config.get("metadata", {}).get("job_submission_id")


def run_problems(run: Path) -> list[str]:
    """A run that would be lost: a job's own folder is a temporary copy, on one machine, of what was submitted."""
    if job_id() is None or run.is_absolute() or run.parts[:1] == ("s3:",):
        return []
    return [
        f"--run {run} lies in this job's temporary folder: name one that every machine sees, e.g. /mnt/shared/{run}."
    ]


def tell(run: Path) -> None:
    """In a job: say where all that it leaves will be, and write the job into the run's `jobs.jsonl`."""
    found = job_id()
    if found is None:
        return
    text = (
        f"job {found}\n  logs       ray job logs {found}\n  artifacts  {run}\n"
        f"  metrics    {run}/.work/STAGE-*/metrics.jsonl\n  previews   {run}/.work/STAGE-*/previews"
    )
    console.say("job", text, id=found, run=str(run), work=str(run / ".work"))
    line = {"id": found, "at": datetime.now(UTC).isoformat(timespec="seconds"), "words": sys.argv[1:]}
    with (run / JOBS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")

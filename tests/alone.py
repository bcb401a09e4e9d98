"""Run a test again in a process of its own: where Ray Serve has been imported, a SIGTERM to oneself crashes."""

import os
import subprocess
import sys

INSIDE = "NARUTO_ADD_TEST_INSIDE"


def in_own_process(file: str, name: str) -> bool:
    """Whether the test has been run in a process of its own just now, and passed; False inside of that process."""
    if os.environ.get(INSIDE):
        return False
    words = [sys.executable, "-m", "pytest", "-q", f"{file}::{name}"]
    done = subprocess.run(words, env={**os.environ, INSIDE: "1"}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    return True

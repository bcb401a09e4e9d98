"""Print requirements.lock: pip's resolution of this project with all extras, nothing installed for it.

Every version comes with the sha256 of the file that pip takes for it here; pip then refuses any other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

HEAD = """# Exact versions of all that `make` installs, with the sha256 of their files for Linux x86-64 and Python 3.11.
# `make lock` writes this file anew."""
RESOLVE = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", "setuptools", ".[dev]"]


def pin(item: dict[str, Any]) -> str:
    """One line: name, version, hash."""
    metadata, hashes = item["metadata"], item["download_info"]["archive_info"]["hashes"]
    return f"{metadata['name']}=={metadata['version']} --hash=sha256:{hashes['sha256']}"


answer = subprocess.run([sys.executable, "-m", "pip", *RESOLVE], check=True, stdout=subprocess.PIPE).stdout
pins = [pin(item) for item in json.loads(answer)["install"] if item["metadata"]["name"] != "naruto-add"]
sys.stdout.write("\n".join([HEAD, *sorted(pins, key=str.lower)]) + "\n")

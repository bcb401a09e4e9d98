"""Print requirements.lock: pip's resolution of this project with all extras, nothing installed for it."""

from __future__ import annotations

import json
import subprocess
import sys

HEAD = "# Exact versions of all that `make` installs (Linux x86-64, Python 3.11). `make lock` writes this file anew."
RESOLVE = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", "setuptools", ".[dev]"]

answer = subprocess.run([sys.executable, "-m", "pip", *RESOLVE], check=True, stdout=subprocess.PIPE).stdout
found = [item["metadata"] for item in json.loads(answer)["install"]]
pins = sorted((f"{m['name']}=={m['version']}" for m in found if m["name"] != "naruto-add"), key=str.lower)
sys.stdout.write("\n".join([HEAD, *pins]) + "\n")

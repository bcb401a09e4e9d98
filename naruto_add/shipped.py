"""Where the models that ship with the package lie."""

from __future__ import annotations

import os
from pathlib import Path

BESIDE = Path(__file__).parent / "assets"
ASSETS = BESIDE if BESIDE.is_dir() else Path(os.environ.get("NARUTO_ADD_ASSETS", BESIDE))
"""Beside the code; NARUTO_ADD_ASSETS where the code came without them, as `ray job submit --working-dir .` sends it
(.rayignore): the cluster's machines have them already."""

"""The prepare stage's own process: what it loads, and what it makes of the recipe's resources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def test_preparing_loads_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from dataclasses import replace
import naruto_add.on_ray.data
from naruto_add.config import ComputeConfig
from naruto_add.on_ray.prepare import prepare_shards
from naruto_add.recipe import load
recipe = load("smoke")
data = replace(recipe.data, num_images=8, num_heldout=2)
recipe = replace(recipe, data=data, compute=ComputeConfig(launcher="inline", workers=1, zero_stage=None))
prepare_shards(recipe, Path({str(tmp_path)!r}))
print(sorted({{"torch", "diffusers", "deepspeed", "pandas"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.stdout.split() == ["[]"], done.stdout + done.stderr
    assert (tmp_path / "index.json").exists()

"""Make the few-step vector of the `mini` base: python jobs/head_start.py --run runs/head_start --out FOLDER

Distills the shipped base itself (recipe head_start) and writes what that changed, as LCM-LoRA does for Stable
Diffusion: added to the student that surgery cuts out of a fine-tuned teacher, it starts the distillation near its end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.stages import prepare
from naruto_add.models.folder import base_place
from naruto_add.models.load import load_components
from naruto_add.models.student import inherit, save_head_start
from naruto_add.on_ray.train import train_student
from naruto_add.recipe import load


def main() -> None:
    """Prepare, distill, subtract; stopped anywhere, the same command goes on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="head_start")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    recipe = load(args.recipe)
    shards = prepare(recipe, args.run)
    student = args.run / "student"
    base = base_place(recipe.teacher.base, recipe.teacher.revision)
    assert base is not None, "the head start belongs to a base on this machine"
    train_student(recipe, base, shards.path, args.run / ".work" / "head_start", student)
    surgery, _ = inherit(load_components(base).unet, recipe.distill.size)
    save_head_start(load_components(student).unet, surgery, args.out)


if __name__ == "__main__":
    main()

"""Whole training stages in this process: no Ray is started or even imported."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from naruto_add.config import ComputeConfig, OptimConfig, Recipe
from naruto_add.errors import UserError
from naruto_add.models.load import load_components
from naruto_add.on_ray.job import Job
from naruto_add.on_ray.train import train_student, train_teacher
from naruto_add.recipe import load
from naruto_add.training import checkpoint
from tests.folders import tiny_base, tiny_shards

OPTIM = OptimConfig(
    images=8, batch_size=4, learning_rate=1e-3, ema_images=4, checkpoint_images=4, preview_images=8, accumulation=2
)
INLINE = ComputeConfig(launcher="inline", workers=1, zero_stage=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("folders")
    return tiny_base(place / "base"), tiny_shards(place / "shards")


def recipe_of(base: Path, compute: ComputeConfig = INLINE) -> Recipe:
    smoke = load("smoke")
    return replace(
        smoke,
        prompts=("a ninja", "un ninja"),
        teacher=replace(smoke.teacher, base=str(base), optim=OPTIM),
        distill=replace(smoke.distill, head_start=None, optim=OPTIM),
        compute=compute,
    )


def test_a_job_survives_the_way_to_another_process(tmp_path: Path) -> None:
    job = Job(recipe_of(tmp_path), "mini", None, tmp_path, tmp_path, tmp_path / "latents", tmp_path / "out")
    assert Job.from_plain(json.loads(json.dumps(job.to_plain()))) == job


def test_fine_tuning_and_distilling_leave_bases_metrics_previews_and_checkpoints(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, shards = folders
    recipe = recipe_of(base)
    train_teacher(recipe, shards, tmp_path / "finetune", tmp_path / "teacher")
    latents = {file: file.stat().st_mtime_ns for file in (tmp_path / "latents").iterdir()}
    train_student(recipe, tmp_path / "teacher", shards, tmp_path / "distill", tmp_path / "student")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "latents").iterdir()} == latents
    for stage in ("finetune", "distill"):
        work = tmp_path / stage
        assert len((work / "metrics.jsonl").read_text().splitlines()) == 2
        assert (work / "previews" / "images-000000000000.png").exists()
        assert checkpoint.newest(work / "checkpoints") == work / "checkpoints" / "images-000000000008"
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert printed[-1]["stage"] == "distill" and printed[-1]["images"] == 8
    assert changed(tmp_path / "teacher", base)
    student = load_components(tmp_path / "student").unet
    assert sum(p.numel() for p in student.parameters()) < sum(
        p.numel() for p in load_components(base).unet.parameters()
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "ladd", "synthetic_steps": 2, "mismatch_weight": 1.0, "distill_weight": 0.0},
        {"method": "lcm"},
        {"method": "output", "teacher_steps": 2},
    ],
    ids=lambda settings: settings["method"],
)
def test_every_method_leaves_a_student(folders: tuple[Path, Path], tmp_path: Path, settings: dict[str, object]) -> None:
    base, shards = folders
    recipe = recipe_of(base)
    recipe = replace(recipe, distill=replace(recipe.distill, **settings))
    train_student(recipe, base, shards, tmp_path / "distill", tmp_path / "student")
    assert len((tmp_path / "distill" / "metrics.jsonl").read_text().splitlines()) == 2
    assert load_components(tmp_path / "student").unet.config["layers_per_block"] == 1
    drawn = list((tmp_path / "latents").glob("drawn-*.safetensors"))
    assert bool(drawn) == ("synthetic_steps" in settings)


def changed(one: Path, other: Path) -> bool:
    """Whether two bases differ in every convolution of their UNets."""
    first, second = load_components(one).unet.state_dict(), load_components(other).unet.state_dict()
    return not any(torch.equal(first[n], second[n]) for n in first if n.endswith("conv1.weight"))


def test_the_user_s_mistake_is_told_as_such(folders: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = recipe_of(folders[0], replace(INLINE, gpus_per_worker=1.0))
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="torch sees no GPU"):
        train_teacher(recipe, folders[1], tmp_path / "work", tmp_path / "teacher")


def test_inline_training_does_without_ray() -> None:
    code = "import sys, naruto_add.on_ray.train, naruto_add.on_ray.workers; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_driver_and_controller_do_without_what_only_workers_need() -> None:
    code = "import sys, naruto_add.on_ray.train, naruto_add.on_ray.job; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

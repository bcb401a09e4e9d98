"""Two real workers (gloo, no Ray), at every ZeRO stage, on a machine without a compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from naruto_add.training import checkpoint
from tests.integration.gang import STAGES, learn

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture(scope="module")
def gang(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two workers have left in their folder."""
    folder = tmp_path_factory.mktemp("gang")
    no_compiler = {"PATH": str(Path(sys.executable).parent), "TORCH_EXTENSIONS_DIR": str(folder / "extensions")}
    env = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX", "LOCAL_RANK")}
    env |= no_compiler | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    workers = []
    for rank in ("0", "1"):
        command = [sys.executable, "-m", "tests.integration.gang", rank, "2", str(folder)]
        workers.append(subprocess.Popen(command, env=env | {"LOCAL_RANK": rank}))
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0]
    return folder


@pytest.fixture(scope="module")
def results(gang: Path) -> dict[str, torch.Tensor]:
    return load_file(gang / "results.safetensors")


def part(results: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in results.items() if name.startswith(prefix)}


@pytest.mark.parametrize("stage", STAGES)
def test_two_workers_learn_what_one_learns(results: dict[str, torch.Tensor], stage: int | None, tmp_path: Path) -> None:
    wanted, found = learn(None, tmp_path), part(results, f"straight/{stage}/")
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name


@pytest.mark.parametrize("stage", STAGES)
def test_two_workers_resume_exactly(results: dict[str, torch.Tensor], stage: int | None) -> None:
    straight, resumed = part(results, f"straight/{stage}/"), part(results, f"resumed/{stage}/")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in straight.items())


@pytest.mark.parametrize("stage", STAGES)
def test_one_worker_goes_on_where_two_have_stopped(gang: Path, stage: int | None, tmp_path: Path) -> None:
    found, wanted = learn(stage, gang / f"left-{stage}"), learn(None, tmp_path)
    for name, tensor in wanted.items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name


def test_each_worker_writes_its_share_of_a_checkpoint(gang: Path) -> None:
    files = [load_file(f) for f in sorted((gang / "straight-2/checkpoints/images-000000000016").glob("rank-*"))]
    assert len(files) == 2
    assert not files[0].keys() & files[1].keys()
    assert abs(len(files[0]) - len(files[1])) <= 1


def test_a_checkpoint_is_whole_only_when_the_last_worker_has_written(gang: Path) -> None:
    assert {path.name for path in checkpoint.checkpoints(gang / "late")} == {"images-000000000008"}
    assert len(list((gang / "late/images-000000000008").glob("rank-*"))) == 2


def test_nothing_was_compiled(gang: Path) -> None:
    assert not (gang / "extensions").exists()

"""A gang of workers without Ray: each process runs `python -m tests.integration.gang RANK SIZE FOLDER`."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from naruto_add.training import checkpoint
from naruto_add.training.engine import choose_engine
from naruto_add.training.loop import train
from naruto_add.training.pace import learning_rate
from naruto_add.training.player import Player
from naruto_add.training.saver import Saver
from naruto_add.training.state import TrainState
from naruto_add.training.telemetry import Reporter
from naruto_add.training.world import World
from tests.unit.training.toys import ToyFeed, batch_at, optim_of

STAGES = (None, 0, 1, 2, 3)
OPTIM = optim_of(batch_size=4, accumulation=2, images=16, checkpoint_images=8)
HALF_WAY = 8


class Pupil:
    """A `Method` without batch statistics, so that any number of workers gives the same."""

    needs_pixels = False

    def __init__(self, stage: int | None) -> None:
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(3, 7), torch.nn.GELU(), torch.nn.Linear(7, 3))
        self.player = Player("pupil", module, OPTIM, choose_engine(stage))
        self.players = {"pupil": self.player}

    def step(self, batch, state: TrainState) -> dict[str, float]:
        for micro in batch.split(OPTIM.accumulation):
            loss = (self.player.module(micro.pooled) - micro.pooled).square().mean() * 10
            self.player.backward(loss)
        return {"loss": float(loss.detach()), "norm": self.player.step(learning_rate(OPTIM, state.images_after))}

    def preview(self, prompts):
        raise AssertionError("nobody asked")


def learn(stage: int | None, folder: Path) -> dict[str, torch.Tensor]:
    """Train to the end from whatever is in the folder; returns weights, average and moments."""
    world, pupil = World.current(), Pupil(stage)
    feed = ToyFeed(OPTIM.batch_size, world.rank, world.size)
    train(pupil, feed, OPTIM, folder, Reporter(), 0, world)
    return {name: tensor.clone() for name, tensor in pupil.player.tensors()}


def first_half(stage: int | None, folder: Path) -> None:
    """Train half way and leave a checkpoint."""
    world, pupil = World.current(), Pupil(stage)
    share = OPTIM.batch_size // world.size
    for first in range(0, HALF_WAY, OPTIM.batch_size):
        positions = [first + world.rank * share + i for i in range(share)]
        pupil.step(batch_at(positions), TrainState(0, OPTIM.batch_size, first))
    checkpoint.save(folder / "checkpoints", TrainState(0, OPTIM.batch_size, HALF_WAY), pupil.players.values(), world)


def one_is_late(folder: Path) -> None:
    """Save while rank 1 cannot write yet: until it can, there must be no checkpoint, and nobody waits."""
    world, late, write = World.current(), threading.Event(), checkpoint.write
    if not world.leads:
        checkpoint.write = lambda made: late.wait(60) and write(made)
    with Saver(folder, world) as saver:
        saver.save(TrainState(0, OPTIM.batch_size, HALF_WAY), Pupil(None).players.values())
        for _ in range(3):
            time.sleep(0.05)
            saver.advance()
        assert checkpoint.newest(folder) is None
        world.barrier()
        late.set()
    checkpoint.write = write


def main(rank: int, size: int, folder: Path) -> None:
    """Rank 0 writes what each stage has learnt, straight through and resumed, to `FOLDER/results.safetensors`."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    results = {}
    for stage in STAGES:
        results |= {f"straight/{stage}/{name}": t for name, t in learn(stage, folder / f"straight-{stage}").items()}
        first_half(stage, folder / f"resumed-{stage}")
        results |= {f"resumed/{stage}/{name}": t for name, t in learn(stage, folder / f"resumed-{stage}").items()}
        first_half(stage, folder / f"left-{stage}")
    one_is_late(folder / "late")
    if rank == 0:
        save_file(results, folder / "results.safetensors")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

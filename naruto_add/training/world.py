"""The group of workers that train together, and the few things they tell each other (tensors only, never pickles)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

CPU = torch.device("cpu")


@dataclass(frozen=True)
class World:
    """The place of one worker among `size`; its methods must be called by all of them alike."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    """Where tensors must lie to be exchanged."""

    @staticmethod
    def current() -> World:
        """The world of torch.distributed's default group, or of this process alone."""
        if not (dist.is_available() and dist.is_initialized()):
            return World()
        on_gpu = dist.get_backend() == "nccl"
        device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else CPU
        return World(dist.get_rank(), dist.get_world_size(), device)

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes what is written once."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return bool(self.reduce(torch.tensor([float(flag)]), dist.ReduceOp.MAX).item())

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean over the ranks of each value; all ranks give the same names in the same order."""
        total = self.reduce(torch.tensor(list(values.values()), dtype=torch.float64), dist.ReduceOp.SUM)
        return dict(zip(values, (total / self.size).tolist(), strict=True))

    def broadcast(self, number: int) -> int:
        """Rank 0's number."""
        if self.size == 1:
            return number
        tensor = torch.tensor([number], device=self.device)
        dist.broadcast(tensor, src=0)
        return int(tensor.item())

    def gather(self, numbers: Sequence[int]) -> list[int]:
        """The numbers of all ranks, in rank order; all ranks give equally many."""
        mine = torch.tensor(list(numbers), device=self.device, dtype=torch.int64)
        if self.size == 1:
            return mine.tolist()
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine)
        return torch.cat(parts).tolist()

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            self.any(False)

    def reduce(self, tensor: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        """The tensor reduced over the ranks, on CPU."""
        if self.size == 1:
            return tensor
        tensor = tensor.to(self.device)
        dist.all_reduce(tensor, how)
        return tensor.cpu()


ALONE = World()
"""One process that trains or draws by itself."""

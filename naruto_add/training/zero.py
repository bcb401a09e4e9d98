"""DeepSpeed ZeRO engines, stages 0 to 3, on CPU (gloo) and GPU (NCCL), with the traps of a GAN pair kept shut.

- The module is called as such, never as engine(x): the engine hooks its outputs, and any other backward that reaches
  them runs its epilogue (DeepSpeed PR 7665). What engine(x) would have done before a forward is done before the
  backward: `clear_backward_seen_flag`, without which ZeRO-3 forgets all micro-batches but the last, silently.
- One backward per micro-batch; the discriminator stays a TorchEngine, because R1 needs a second one.
- No C++ is compiled: the shared-memory collective is declared incompatible before `init_distributed`, and the
  optimizer is torch's own.
- DeepSpeed's pickled checkpoints are not used: `moments` and `load` speak of whole parameters, so that a run resumes
  exactly, at another stage or number of workers too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from naruto_add.config import OptimConfig
from naruto_add.training.engine import MOMENTS, Moments, adamw, restore, set_lr, trainable
from naruto_add.training.world import World


class DeepSpeedEngine:
    """An `Engine` that shards optimizer (stage 1), gradients (2) and parameters (3) over the workers."""

    def __init__(self, module: nn.Module, optim: OptimConfig, stage: int) -> None:
        ds = deepspeed()
        self.module = module
        self.optim = optim
        self.stage = stage
        self.micro_batches = 0
        self.parameters = trainable(module)
        assert stage < 3 or len(self.parameters) == len(list(module.parameters())), "ZeRO-3 would split frozen weights"
        self.adamw = adamw(self.parameters, optim)
        config = zero_config(optim, stage, World.current().size, sum(p.numel() for p in self.parameters))
        self.engine, self.zero, _, _ = ds.initialize(model=module, optimizer=self.adamw, config=config)

    def backward(self, loss: Tensor) -> None:
        """See `Engine.backward`; once per micro-batch."""
        assert self.micro_batches < self.optim.accumulation, "a ZeRO engine takes one backward per micro-batch"
        if self.stage > 0:
            self.zero.clear_backward_seen_flag()
        self.engine.backward(loss)
        self.micro_batches += 1
        if self.micro_batches < self.optim.accumulation:
            self.engine.step()  # closes the micro-batch; not a boundary, so no update

    def tell_gradients(self, watch: Callable[[Tensor], None]) -> None:
        """See `Engine.tell_gradients`: ZeRO puts them in buckets."""
        for parameter in self.parameters:
            parameter.register_hook(watch)

    def finite(self) -> bool:
        """See `Engine.finite`: nothing is left to ask."""
        return True

    def step(self, lr: float) -> float:
        """See `Engine.step`."""
        assert self.micro_batches == self.optim.accumulation, "the step is not complete"
        self.micro_batches = 0
        set_lr(self.adamw, lr)
        if self.stage == 0:
            return self._step_whole()
        self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def _step_whole(self) -> float:
        """Stage 0: DeepSpeed has averaged the gradients but tells no norm and does not mind bad numbers."""
        norm = nn.utils.clip_grad_norm_(self.parameters, self.optim.max_grad_norm)
        if torch.isfinite(norm):
            self.engine.step()
        return float(norm)

    def whole(self) -> AbstractContextManager[object]:
        """See `Engine.whole`; stage 3 gathers all parameters."""
        return deepspeed().zero.GatheredParameters(self.parameters) if self.stage == 3 else nullcontext()

    def moments(self, parameter: nn.Parameter) -> Moments:
        """See `Engine.moments`; gathered from the ranks that hold its pieces."""
        if self.stage == 0 or not self.adamw.state:
            return self.adamw.state.get(parameter, {})
        full = deepspeed().utils.safe_get_full_optimizer_state
        step = next(iter(self.adamw.state.values()))["step"]
        return {"step": step, **{name: full(parameter, name) for name in MOMENTS}}

    @torch.no_grad()
    def load(self, weights: Mapping[nn.Parameter, Tensor], moments: Mapping[nn.Parameter, Moments]) -> None:
        """See `Engine.load`."""
        if self.stage == 0:
            restore(self.adamw, moments)
        else:
            self._open_state(moments)
        for parameter, weight in weights.items():
            set_weight(parameter, weight, self.stage)
            if self.stage > 0:
                set_moments(parameter, moments[parameter], self.stage)

    def _open_state(self, moments: Mapping[nn.Parameter, Moments]) -> None:
        """Create the optimizer state of this rank's flat pieces, zero but for the step, to be filled piece by piece."""
        self.adamw.state.clear()
        steps = [state["step"] for state in moments.values() if state]
        if not steps:
            return
        zero = self.zero
        pieces = zero.fp32_partitioned_groups_flat if self.stage == 3 else zero.single_partition_of_fp32_groups
        for piece in pieces:
            self.adamw.state[piece] = {"step": steps[0].clone(), **{n: torch.zeros_like(piece) for n in MOMENTS}}
        if self.stage < 3:
            for group, piece in zip(zero.bit16_groups, pieces, strict=True):
                deepspeed().utils.lazy_init_hp_params_optimizer_state(group, piece, self.adamw.state)


@cache
def deepspeed() -> ModuleType:
    """DeepSpeed, imported for this machine's accelerator and joined to torch's process group (one is made if none)."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")
    import deepspeed as ds
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    ds.utils.logger.setLevel("WARNING")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if not dist.is_initialized():
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    ds.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
    return ds


def zero_config(optim: OptimConfig, stage: int, world: int, numel: int) -> dict[str, Any]:
    """A DeepSpeed configuration of its own for one player (they are changed in place, DeepSpeed issue 1975).

    A bucket as large as the player: the default reserves 2 GB for each engine, and a process that maps more than the
    machine's memory can no longer fork.
    """
    even = numel + numel % 2
    buckets = {"reduce_bucket_size": even, "allgather_bucket_size": even}
    return {
        "train_batch_size": optim.batch_size,
        "train_micro_batch_size_per_gpu": optim.batch_size // (world * optim.accumulation),
        "gradient_accumulation_steps": optim.accumulation,
        "gradient_clipping": optim.max_grad_norm if stage > 0 else 0.0,
        "zero_optimization": {"stage": stage, **buckets},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }


def set_weight(parameter: nn.Parameter, weight: Tensor, stage: int) -> None:
    """Set a parameter and the pieces of its float32 master that ranks hold."""
    utils = deepspeed().utils
    if stage < 3:
        parameter.copy_(weight)
        utils.safe_set_full_fp32_param(parameter, parameter.detach())
        return
    with deepspeed().zero.GatheredParameters([parameter], modifier_rank=0):
        parameter.copy_(weight)
    utils.safe_set_local_fp32_param(parameter, piece_of(parameter, weight))


def set_moments(parameter: nn.Parameter, moments: Moments, stage: int) -> None:
    """Set the pieces of a parameter's optimizer state that ranks hold; none stored: they stay zero."""
    utils = deepspeed().utils
    for name in MOMENTS:
        if name in moments and stage < 3:
            utils.safe_set_full_optimizer_state(parameter, moments[name].to(parameter.device), name)
        elif name in moments:
            utils.safe_set_local_optimizer_state(parameter, piece_of(parameter, moments[name]), name)


def piece_of(parameter: Any, value: Tensor) -> Tensor:
    """The piece of a whole value for this rank, as ZeRO-3 cuts it: equal flat pieces, the last padded with zeros."""
    size = parameter.ds_tensor.numel()
    flat = torch.zeros(size * dist.get_world_size(), device=parameter.device)
    flat[: value.numel()] = value.reshape(-1)
    return flat.narrow(0, size * dist.get_rank(), size)

"""What workers do as plain values, and the functions that they call with them.

Ray's controller and the driver only hand these on. All that training needs is imported where it runs: it takes longer
than the rest of their start together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from naruto_add.config import Recipe


class Plain:
    """Values that go to other processes as JSON."""

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, to be sent to another process."""
        return TypeAdapter(type(self)).dump_python(self, mode="json")

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Self:
        """The opposite of `to_plain`."""
        return TypeAdapter(cls).validate_python(values)


@dataclass(frozen=True)
class Job(Plain):
    """One training stage: what is trained on what, and where things go. All paths are seen by all workers."""

    recipe: Recipe
    base: str
    """The model to start from: `mini`, a diffusers folder or a hub id."""
    revision: str | None
    """Commit of a hub id."""
    shards: Path
    work: Path
    """Checkpoints, metrics and previews: what the same command resumes from."""
    latents: Path
    """The latent cache; several stages may share it."""
    out: Path | None
    """The finished model, a diffusers folder, written by rank 0 at the end; None: it stays in the checkpoint."""
    until: int | None = None
    """Pause at this image instead of training to the end."""


@dataclass(frozen=True)
class Examination(Plain):
    """One evaluation; `base` is a name, folder or hub id, the others are folders. All paths are seen by all workers."""

    recipe: Recipe
    student: Path
    teacher: Path
    base: str
    shards: Path
    work: Path
    out: Path
    """Gets the report."""


def finetune(config: dict[str, Any]) -> None:
    """Call `workers.finetune_worker`."""
    from naruto_add.on_ray.workers import finetune_worker

    finetune_worker(config)


def distill(config: dict[str, Any]) -> None:
    """Call `workers.distill_worker`."""
    from naruto_add.on_ray.workers import distill_worker

    distill_worker(config)


def examine(config: dict[str, Any]) -> None:
    """Call `examine.examine_worker`."""
    from naruto_add.on_ray.examine import examine_worker

    examine_worker(config)

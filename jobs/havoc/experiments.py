"""The table of experiments: name, what is done, how often, the bar. Light: no torch is imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from naruto_add.errors import raise_all
from naruto_add.recipe import nearest

if TYPE_CHECKING:
    from jobs.havoc.record import Outcome
    from jobs.havoc.setting import Setting

Trial = Callable[[int], "Outcome"]
"""What is done once: a function of the trial's number alone, so that any of them can be done again."""


@dataclass(frozen=True)
class Experiment:
    """One promise, and how it is put to the test."""

    name: str
    title: str
    trials: int
    """In the long form."""
    quick: int
    """In the short one, which only shows that it works."""
    function: str
    """`module.function` of `jobs.havoc` that sets it up."""
    bar: str
    """What every trial must show, in words."""
    limits: dict[str, float] = field(default_factory=dict)
    """The most that a figure may reach, by its name."""
    default: bool = True
    """Whether it runs unasked."""

    def set_up(self) -> Callable[[Setting], Trial]:
        """The function that prepares the trials, its module imported only now."""
        module, _, function = self.function.partition(".")
        return getattr(importlib.import_module(f"jobs.havoc.{module}"), function)


EXPERIMENTS = (
    Experiment(
        "resume", "an ADD run killed at every place of every step, then resumed", 42, 3, "resume.resume",
        "weights, averages, both optimizers and the order of data are bit-equal",
    ),
    Experiment(
        "saving", "SIGKILL inside the saving of checkpoints", 200, 20, "saving.saving",
        "a valid checkpoint, none lost that was finished", {"intervals_lost": 1},
    ),
    Experiment(
        "bits", "one bit flipped in shards, checkpoints, bundles", 1000, 60, "bits.bits",
        "noticed; nothing changed is used; the checkpoint before it is",
    ),
    Experiment(
        "mutants", "folders of 50 mutated images and captions, prepared", 200, 4, "mutants.mutants",
        "no crash; every item in the shards or in the quarantine, with a reason",
        {"slowest_item_s": 5, "memory_growth_mib": 200},
    ),
    Experiment(
        "nonfinite", "NaN, infinity and overflow in an ADD step, one worker and two", 28, 6, "nonfinite.nonfinite",
        "all workers stop, nobody is updated, the samples are named",
    ),
    Experiment(
        "storage", "a disk that fills up or is read-only, SIGTERM, at every stage", 40, 4, "storage.storage",
        "a message, no traceback; the same command then ends with the same digest", {"seconds_to_end": 25},
    ),
    Experiment(
        "elastic", "1, 2 and 4 workers, and changes of their number in mid-run", 6, 2, "elastic.elastic",
        "the same global batches", {"loss_difference": 1e-5},
    ),
    Experiment(
        "scores", "distances of sets and pictures to themselves, and to torch-fidelity's", 20, 2, "scores.scores",
        "the same seed gives the same score",
        {"distance_to_itself": 1e-3, "batch_size_matters": 1e-4, "off_torch_fidelity": 1e-3, "perceptual_to_itself": 0},
    ),
    Experiment(
        "workers", "runs under Ray Train, a worker killed five times in each, one driver too", 4, 1, "workers.workers",
        "the same final digest", {"seconds_to_next_step": 60}, default=False,
    ),
    Experiment(
        "soak", "minutes of the endpoint at steady load", 60, 2, "soak.soak", "99.9 % succeed, with one retry",
        {"failed_share": 0.001, "memory_mib_per_h": 1, "more_descriptors": 0}, default=False,
    ),
    Experiment(
        "copies", "minutes at steady load, one of two copies killed in every second", 30, 2, "soak.copies",
        "99.9 % succeed, with one retry", {"failed_share": 0.001}, default=False,
    ),
)  # fmt: skip


def chosen(names: Sequence[str]) -> list[Experiment]:
    """The named experiments in the table's order, by default all but two; raises UserError for names that are none."""
    known = [each.name for each in EXPERIMENTS]
    raise_all([f"{name}: no such experiment{nearest(name, known)}" for name in names if name not in known])
    return [each for each in EXPERIMENTS if each.name in names or (not names and each.default)]

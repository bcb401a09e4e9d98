"""`naruto-add plan --recipe NAME_OR_FILE`: memory, storage, time and cost of a run, before anything starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jobs import console
from jobs.arguments import StageWords, parse_words
from jobs.entry import run_verb
from naruto_add.config import Recipe

POSITIVE = (
    "gpus",
    "gpu_memory_gib",
    "images_per_s",
    "price_per_gpu_hour",
    "gpu_tflops",
    "utilisation",
    "link_gb_per_s",
)


@dataclass(frozen=True, kw_only=True)
class PlanWords(StageWords):
    """Arguments of `plan`."""

    run: str = "runs"
    """Where the run would be; nothing is written there."""
    gpus: int | None = None
    """So many GPUs, one a worker. Default: as the recipe says."""
    gpu_memory_gib: float | None = None
    """Memory of one GPU (of one worker on processors), in GiB: finds the largest micro-batch."""
    images_per_s: float | None = None
    """Measured images per second of fine-tuning over all GPUs. Default: guessed from operations."""
    price_per_gpu_hour: float | None = None
    """Price of a GPU (or worker) for an hour, in any currency."""
    gpu_tflops: float = 312.0
    """For the guess: peak of one GPU in 10^12 operations per second; 312 is an A100's in bf16."""
    utilisation: float = 0.3
    """For the guess: the share of that peak that training reaches."""
    link_gb_per_s: float = 25.0
    """For the guess: 10^9 bytes per second that a GPU sends to others; 25 is 200 Gb/s of InfiniBand each."""
    json: bool = False
    """Print JSON instead of tables; sizes in bytes."""

    def flags(self) -> dict[str, list[str]]:
        """See `StageWords.flags`."""
        return {} if self.gpus is None else {"compute.workers": [str(self.gpus)], "compute.gpus_per_worker": ["1"]}

    def problems(self, recipe: Recipe) -> list[str]:
        """See `StageWords.problems`."""
        from jobs.preflight import before_plan

        given = {name: getattr(self, name) for name in POSITIVE}
        wrong = [
            f"--{name.replace('_', '-')} must be more than 0, not {value:g}."
            for name, value in given.items()
            if value is not None and not value > 0
        ]
        return [*wrong, *before_plan(recipe, self.folder, elsewhere=self.gpus is not None)]


def main(words: Sequence[str]) -> None:
    """Check everything, then reckon and show."""
    arguments = parse_words("plan", words, PlanWords)
    asked = arguments.words
    from jobs.plan_table import show
    from naruto_add.plan.estimate import Means, estimate

    means = Means(
        gpu_memory_gib=asked.gpu_memory_gib,
        images_per_s=asked.images_per_s,
        price_per_gpu_hour=asked.price_per_gpu_hour,
        gpu_tflops=asked.gpu_tflops,
        utilisation=asked.utilisation,
        link_gb_per_s=asked.link_gb_per_s,
    )
    plan = estimate(arguments.recipe, means)
    if asked.json:
        sys.stdout.write(json.dumps(asdict(plan), indent=2) + "\n")
    else:
        show(plan, console.screen())


if __name__ == "__main__":
    sys.exit(run_verb("plan", sys.argv[1:]))

"""Training, and drawing for an evaluation, on Ray Train: as many workers as the recipe says, watched from here.

Workers save their own checkpoints (`training.checkpoint`) to the work folder, which all machines share; Ray Train
brings the workers up, joins them to one process group, and starts them again if one is lost.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from naruto_add.artifact import write_json
from naruto_add.config import ComputeConfig, Recipe
from naruto_add.errors import UserError, storage_trouble
from naruto_add.evaluation.progress import Metered, console_meter
from naruto_add.on_ray.job import Examination, Job, distill, examine, finetune
from naruto_add.training import checkpoint
from naruto_add.training.guards import STOP, TrainingStopped, in_main_thread
from naruto_add.training.pace import total_images
from naruto_add.training.telemetry import METRICS, Follower, console_sink
from naruto_add.training.world import World

log = logging.getLogger(__name__)

Worker = Callable[[dict[str, Any]], None]

MISTAKE = "mistake-*.json"
"""Where workers leave the user's mistake for the driver, each rank its own."""
LATENTS = "latents"
"""The latent cache beside the work folders: fine-tuning and distillation share it."""
PROFILE = "profile.json"
"""In the work folder, once training has ended: where rank 0's time went, in seconds by part, and when it began, in
seconds since 1970."""
PROGRESS = "progress.jsonl"
"""In an evaluation's work folder: what its first worker has drawn."""
MAX_FAILURES = 3


def train_teacher(recipe: Recipe, shards: Path, work: Path, out: Path) -> None:
    """Fine-tune the recipe's base on the shards; `out` gets the teacher, a diffusers folder."""
    work = work.resolve()
    base, revision = absolute(recipe.teacher.base), recipe.teacher.revision
    job = Job(recipe, base, revision, shards.resolve(), work, work.parent / LATENTS, out.resolve())
    compute, total = recipe.compute.finetuning, total_images(recipe.teacher.optim)
    run(compute, finetune, job.to_plain(), "finetune", work, total)


def train_student(
    recipe: Recipe, teacher: Path, shards: Path, work: Path, out: Path | None, until: int | None = None
) -> None:
    """Distill the teacher on the shards; `out` gets the student, a diffusers folder.

    With `until` training pauses at that image, to be called again; without `out` the student stays in its checkpoint.
    """
    work, recipe = work.resolve(), rooted(recipe)
    out = None if out is None else out.resolve()
    job = Job(recipe, str(teacher.resolve()), None, shards.resolve(), work, work.parent / LATENTS, out, until)
    run(recipe.compute, distill, job.to_plain(), "distill", work, total_images(recipe.distill.optim))


def examine_student(
    recipe: Recipe, student: Path, teacher: Path, base: str, shards: Path, work: Path, out: Path
) -> None:
    """Have the workers evaluate; `out` gets report.json and index.html. What is drawn stays in `work`."""
    work = work.resolve()
    job = Examination(
        rooted(recipe), student.resolve(), teacher.resolve(), absolute(base), shards.resolve(), work, out.resolve()
    )
    (work / PROGRESS).unlink(missing_ok=True)
    follower = Follower(work / PROGRESS, Metered(console_meter()))
    call(recipe.compute, examine, job.to_plain(), "evaluate", work, pictures_drawn, follower)


def rooted(recipe: Recipe) -> Recipe:
    """The recipe with the folders that distillation reads named as workers can find them."""
    head_start, weights = recipe.distill.head_start, recipe.evaluate.weights
    return replace(
        recipe,
        distill=replace(recipe.distill, head_start=head_start and absolute(head_start)),
        evaluate=replace(recipe.evaluate, weights=weights and absolute(weights)),
    )


def absolute(name: str) -> str:
    """A folder's name as workers can find it, who run elsewhere; `mini` and hub ids stay what they are."""
    return str(Path(name).resolve()) if name != "mini" and Path(name).is_dir() else name


def run(compute: ComputeConfig, worker: Worker, config: dict[str, Any], name: str, work: Path, total: int) -> None:
    """Call a training `worker(config)` in every worker, as `call` does; progress is counted in images, of `total`.

    SIGTERM has them finish their step, save and end.
    """
    follower = Follower(work / METRICS, console_sink(name), total)
    call(compute, worker, config, name, work, images_saved, follower, stop_file_on_sigterm(work))


def call(
    compute: ComputeConfig,
    worker: Worker,
    config: dict[str, Any],
    name: str,
    work: Path,
    saved: Callable[[Path], int],
    *around: AbstractContextManager[object],
) -> None:
    """Call `worker(config)` in every worker and wait until all have ended.

    `worker` must be importable by its path. With `launcher: inline` it is called here. The same call after an
    interruption resumes; `saved` tells how much need not be done again. `around` is entered once Ray runs, which sets a
    signal handler of its own. Raises the UserError or TrainingStopped that a worker raised.
    """
    work.mkdir(parents=True, exist_ok=True)
    for leftover in (*work.glob(MISTAKE), work / STOP):
        leftover.unlink(missing_ok=True)
    if compute.launcher == "inline":
        worker(config)
        return
    from naruto_add.on_ray import cluster

    cluster.start(compute)
    cluster.require(compute)
    with ExitStack() as stack:
        for each in around:
            stack.enter_context(each)
        fit_while_it_advances(compute, worker, config, name, work, saved)
    raise_mistake(work)


def fit_while_it_advances(
    compute: ComputeConfig,
    worker: Worker,
    config: dict[str, Any],
    name: str,
    work: Path,
    saved: Callable[[Path], int],
) -> None:
    """`fit`, and again as long as each has saved something before it failed.

    On machines that come and go a long run loses more workers than any fixed number; what always dies at the same
    place is given up.
    """
    from ray.train import TrainingFailedError

    while True:
        before = saved(work)
        try:
            fit(compute, worker, config, name, work)
        except TrainingFailedError:
            if saved(work) <= before:
                raise
            log.warning("%s lost its workers %d times; it goes on from image %d", name, MAX_FAILURES, saved(work))
        else:
            return


def images_saved(work: Path) -> int:
    """How far the checkpoints are; 0 without any."""
    found = checkpoint.checkpoints(work / "checkpoints")
    return checkpoint.images_of(found[0]) if found else 0


def pictures_drawn(work: Path) -> int:
    """How many batches of an evaluation are on disk."""
    return sum(1 for _ in (work / "images").rglob("*.safetensors"))


def fit(compute: ComputeConfig, worker: Worker, config: dict[str, Any], name: str, work: Path) -> None:
    """One Ray Train run; returns when all workers have ended, raises if they failed more than `MAX_FAILURES` times."""
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig

    from naruto_add.on_ray import cluster
    from naruto_add.on_ray.trainer import trainer_class

    on_gpu = compute.gpus_per_worker > 0
    resources = {"CPU": compute.cpus_per_worker} | ({"GPU": compute.gpus_per_worker} if on_gpu else {})
    logging.getLogger("ray").setLevel(logging.ERROR)
    trainer_class(compute)(
        guarded,
        train_loop_config={"worker": worker, "config": config, "work": str(work)},
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=compute.workers, use_gpu=on_gpu, resources_per_worker=resources, placement_strategy="PACK"
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(work / "ray"),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            worker_runtime_env={"env_vars": cluster.worker_env(compute)},
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    ).fit()


def guarded(plain: dict[str, Any]) -> None:
    """In a worker: call it, and leave the user's mistakes for the driver instead of having Ray retry them.

    TrainingStopped is raised on all ranks alike, so all return. Another UserError may be one rank's alone, and the
    others would wait for it for ever: it is raised, Ray ends them all, and the restart finds the mistake and returns.
    """
    work = Path(plain["work"])
    if any(work.glob(MISTAKE)):
        return
    try:
        with storage_trouble():
            plain["worker"](plain["config"])
    except UserError as mistake:
        left = work / MISTAKE.replace("*", str(World.current().rank))
        write_json(left, {"stopped": isinstance(mistake, TrainingStopped), "message": str(mistake)})
        if not isinstance(mistake, TrainingStopped):
            raise


def raise_mistake(work: Path) -> None:
    """Raise what a worker left, as itself."""
    for path in sorted(work.glob(MISTAKE)):
        found = json.loads(path.read_text(encoding="utf-8"))
        raise (TrainingStopped if found["stopped"] else UserError)(found["message"])


@contextmanager
def stop_file_on_sigterm(work: Path) -> Iterator[None]:
    """While inside, SIGTERM asks the workers to finish their step, save and end, instead of killing this process."""
    if not in_main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        (work / STOP).touch()

    previous = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)

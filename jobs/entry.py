"""From a command line to an exit code, the same for the verbs of `naruto-add` and for `ray job submit`."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from naruto_add.errors import UserError, storage_trouble
from naruto_add.recipe import nearest

DONE, OUR_FAULT, USERS_FAULT, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Verb:
    """A command: what it does in a line, and the module of `jobs` whose `main(words)` does it."""

    summary: str
    module: str

    def main(self) -> Callable[[Sequence[str]], None]:
        """The function to call, its module imported only now."""
        return importlib.import_module(self.module).main


VERBS = {
    "doctor": Verb("this machine: versions, memory, accelerator, Ray, storage; a block for bug reports", "jobs.doctor"),
    "plan": Verb("what a run would take: mistakes, parameters, memory, storage, time, cost", "jobs.plan"),
    "run": Verb("the whole pipeline: every stage that is not current yet", "jobs.pipeline"),
    "prepare": Verb("captioned images -> verified shards; --show draws a contact sheet", "jobs.prepare"),
    "finetune": Verb("shards -> teacher", "jobs.finetune"),
    "distill": Verb("teacher and shards -> compact few-step student", "jobs.distill"),
    "tune": Verb("many distillations -> the best recipe; stops early those that fall behind", "jobs.tune"),
    "evaluate": Verb("scores with their floors, and a page of pictures", "jobs.evaluate"),
    "export": Verb("student and report -> a diffusers folder with a model card", "jobs.export"),
    "ablate": Verb("the choices of a distillation, each trained and scored several times, in one table", "jobs.ablate"),
    "serve": Verb("a bundle -> an OpenAI-compatible endpoint and a page to play on", "jobs.serve"),
    "generate": Verb("a prompt -> a picture", "jobs.generate"),
}


def run_verb(name: str, words: Sequence[str]) -> int:
    """Run a verb and return the exit code."""

    def call() -> None:
        if name not in VERBS:
            raise UserError(f"naruto-add {name}: no such verb{nearest(name, list(VERBS))} See naruto-add --help.")
        VERBS[name].main()(words)

    return guarded(call)


def guarded(call: Callable[[], None]) -> int:
    """Call it and return the exit code; the user's mistakes go to stderr without a traceback."""
    logging.getLogger("DeepSpeed").addFilter(worth_saying)
    try:
        with storage_trouble():
            call()
    except UserError as mistake:
        sys.stderr.write(f"naruto-add: {mistake}\n")
        return USERS_FAULT
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; nothing is lost: the same command goes on from here.\n")
        return INTERRUPTED
    return DONE


def worth_saying(record: logging.LogRecord) -> bool:
    """Not worth it: that there is no GPU, which DeepSpeed says on stdout wherever diffusers is imported."""
    return not record.getMessage().startswith("Setting accelerator to CPU")

"""`naruto-add generate PROMPT`: a picture from a bundle, from the student that ships with the package, or a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jobs import console
from jobs.entry import run_verb
from naruto_add.errors import UserError
from naruto_add.storage import fetched

SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclass(frozen=True)
class Words:
    """Draw a picture; the same prompt, bundle, steps and seed give the same picture."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to draw."""
    bundle: str | None = None
    """A bundle: RUN/bundle or s3://bucket/prefix/bundle, which is fetched once. Default: the student that ships with
    the package."""
    steps: int | None = None
    """Passes of the UNet, at most as many as the student was trained for. Default: the bundle's."""
    seed: int = 0
    """Another seed, another picture."""
    url: str | None = None
    """A server to ask instead of loading a bundle: http://127.0.0.1:8000 of `naruto-add serve`, its key, if it needs
    one, in NARUTO_ADD_API_KEY."""
    out: Path = Path("naruto.png")
    """Where to write it (.png, .jpg or .webp)."""


def main(words: Sequence[str]) -> None:
    """Draw, write and name the file."""
    asked = tyro.cli(Words, prog="naruto-add generate", args=list(words))
    check_words(asked)
    started = time.perf_counter()
    if asked.url is None:
        draw_here(asked)
    else:
        draw_there(asked, asked.url)
    seconds = time.perf_counter() - started
    console.say("image", f"{asked.out} ({seconds:.1f} s)", path=str(asked.out), seconds=round(seconds, 2))


def draw_here(asked: Words) -> None:
    """Load the bundle, draw and write."""
    bundle = None if asked.bundle is None else fetched.folder(asked.bundle, "bundle")  # mistakes cost no import
    from naruto_add.generate import SHIPPED, generate

    if bundle is None and not SHIPPED.is_dir():
        raise UserError("No student ships with this version; give --bundle RUN/bundle of a run.")
    generate(asked.prompt, bundle or SHIPPED, asked.steps, asked.seed).save(asked.out)


def draw_there(asked: Words, url: str) -> None:
    """Have the server draw, and write what comes back."""
    from serve.client import draw

    wish = {"prompt": asked.prompt, "seed": asked.seed, "output_format": SUFFIXES[asked.out.suffix.lower()]}
    asked.out.write_bytes(draw(url, wish | ({} if asked.steps is None else {"steps": asked.steps})).data)


def check_words(asked: Words) -> None:
    """Raise UserError for what can be told before the model is loaded."""
    if not asked.prompt.strip():
        raise UserError("The prompt is empty; say what to draw.")
    if asked.url is not None and asked.bundle is not None:
        raise UserError("--bundle and --url exclude each other: the server has its own bundle.")
    if asked.out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {asked.out}: write it as one of {', '.join(SUFFIXES)}.")
    if not asked.out.parent.is_dir():
        raise UserError(f"--out {asked.out}: there is no folder {asked.out.parent}.")


if __name__ == "__main__":
    sys.exit(run_verb("generate", sys.argv[1:]))

"""What a server may be told: frozen, closed, units in the names. Nothing heavy is imported here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

import naruto_add
from naruto_add.errors import UserError, raise_all

SHIPPED = Path(naruto_add.__file__).parent / "assets" / "mini" / "student"
"""The student that comes with the package."""
SHIPPED_TEACHER = SHIPPED.with_name("teacher")
"""What it was distilled from: `--teacher mini`."""
CLOSED = ConfigDict(extra="forbid")

PositiveInt = Annotated[int, Field(gt=0)]
NaturalInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NaturalFloat = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class Settings:
    """How the application answers; the same on a laptop and on a cluster."""

    bundle: tyro.conf.Positional[str | None] = None
    """A bundle: RUN/bundle or s3://bucket/prefix/bundle, which every machine fetches once. Default: the student that
    ships with the package."""
    also: tuple[str, ...] = ()
    """More bundles to serve beside it, each as NAME=BUNDLE; a request's `model` is the NAME."""
    teacher: str | None = None
    """A teacher to serve beside it, for comparison: RUN/teacher, s3://bucket/prefix/teacher, or mini for the one that
    ships with the package."""
    guidance_scale: PositiveFloat = 3.0
    """The teacher's guidance where a request names none."""
    threads: PositiveInt = 1
    """CPU threads of a replica; threads times replicas should not exceed the cores."""
    max_batch: Annotated[int, Field(gt=0, le=64)] = 8
    """Pictures that are drawn together."""
    max_waiting: NaturalInt = 24
    """Pictures that may wait for a place; beyond that requests are answered 429 at once."""
    max_slowdown: NaturalFloat = 2.0
    """A request is promised to be drawn within this many times what it takes alone; whoever would break a promise, as
    measured here, is answered 429 at once. Higher: more pictures a second, later; 0: only --max-waiting counts."""
    timeout_s: PositiveFloat = 30.0
    """A request that is not done by then is answered 504 and dropped."""
    max_prompt_chars: PositiveInt = 1000
    """Longer prompts are answered 400."""
    max_body_bytes: PositiveInt = 65536
    """Longer request bodies are answered 413, counted as they arrive."""
    max_images: Annotated[int, Field(gt=0, le=10)] = 4
    """The largest n of a request."""
    keys: tuple[str, ...] = ()
    """sha256 of the API keys that may call, in hex; none: anybody who reaches the port. See --new-key."""
    requests_per_minute: NaturalInt = 120
    """What one API key may ask for, n pictures counting n times; 0: no limit."""
    cors_origins: tuple[str, ...] = ()
    """Web origins whose pages may call; none: only the playground's own."""
    cache_mb: NaturalInt = 64
    """Memory for pictures that are asked for again; 0: draw each anew."""
    result_ttl_s: PositiveInt = 600
    """How long a picture asked for as a URL can be fetched."""
    log_file: str | None = None
    """A file for the log, a JSON object a line. Default: stderr."""
    log_prompts: bool = False
    """Write prompts into the log; otherwise only their length and hash."""
    playground: bool = True
    """Serve the page to play on at /."""


@dataclass(frozen=True, kw_only=True, config=CLOSED)
class Replicas:
    """How many copies of the application run, and when that changes."""

    min_replicas: NaturalInt = 1
    """Copies that always run; 0: none while nobody asks."""
    max_replicas: PositiveInt = 1
    """Copies at most."""
    target_ongoing: PositiveFloat = 1.5
    """Requests in progress that one copy should have; more start another copy. Keep it below what a copy takes at once:
    with --max-slowdown 2 that is two or three on processors."""
    idle_s: PositiveFloat = 300.0
    """How long a copy must be superfluous before it is stopped."""
    drain_s: PositiveFloat = 40.0
    """How long a copy that is stopped may take to finish its requests."""


STUDENT, TEACHER = "student", "teacher"
"""Names of the models that `bundle` and `teacher` give."""
NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(.+)")


def bundles(settings: Settings) -> dict[str, str]:
    """The bundles to serve, folders and URIs, by the names of their models, the default one first; raises UserError."""
    if settings.bundle is None and not SHIPPED.is_dir():
        raise UserError("No student ships with this version; name a bundle: naruto-add serve RUN/bundle.")
    raise_all([f"also {each!r}: write NAME=RUN/bundle." for each in settings.also if not NAMED.fullmatch(each)])
    found = [NAMED.fullmatch(each) for each in settings.also]
    names = [STUDENT, *(match[1] for match in found if match)]
    twice = {name for name in names if [*names, TEACHER].count(name) > 1}
    raise_all([f"also {name}=...: the name is taken; choose another." for name in sorted(twice)])
    paths = [settings.bundle or str(SHIPPED), *(match[2] for match in found if match)]
    return dict(zip(names, paths, strict=True))


def teacher_place(settings: Settings) -> str | None:
    """The folder or URI of the teacher to serve, if there is to be one."""
    return str(SHIPPED_TEACHER) if settings.teacher == "mini" else settings.teacher


def renamed(settings: Settings, rename: Callable[[str, str], str]) -> Settings:
    """The settings with `rename(name, kind)` for each bundle and teacher that they name."""
    others, teacher = list(bundles(settings).items())[1:], teacher_place(settings)
    return replace(
        settings,
        bundle=settings.bundle and rename(settings.bundle, "bundle"),
        also=tuple(f"{name}={rename(path, 'bundle')}" for name, path in others),
        teacher=teacher and rename(teacher, "teacher"),
    )

"""`naruto-add serve [BUNDLE]`: an OpenAI-compatible endpoint and a page to play on."""

from __future__ import annotations

import queue
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import tyro

from jobs import console
from jobs.entry import run_verb
from naruto_add.artifact import open_artifact, verify
from naruto_add.errors import UserError
from naruto_add.storage import fetched
from naruto_add.storage.s3 import SCHEME
from serve.settings import STUDENT, Replicas, Settings, bundles, renamed

KEY_HELP = """Your key, shown only now:
  {key}
Its hash, a line for the file that --keys-file names:
  {hash}"""


@dataclass(frozen=True)
class Words:
    """Serve a bundle; ready when it has drawn its first picture. Ctrl-C stops it after the requests in progress;
    SIGUSR1 has it read the bundle and the keys anew, without a request that fails.
    """

    host: str = "127.0.0.1"
    """Address to listen on. Others than this machine's own need --keys-file."""
    port: int = 8000
    """Port to listen on."""
    keys_file: Path | None = None
    """A file with the sha256 of an API key a line; then every call needs one of these keys."""
    new_key: bool = False
    """Make an API key, show it with its hash, and stop."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    """How it answers."""
    replicas: Replicas = field(default_factory=Replicas)
    """How many copies."""


def main(words: Sequence[str]) -> None:
    """Check, start, say where, and wait."""
    asked = parse(words)
    if asked.new_key:
        show_new_key()
        return
    settings = checked(asked)
    check_port(asked.host, asked.port)
    from serve.deployment import start, stop

    began = time.perf_counter()
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    notice = partial(note, told)
    signal.signal(signal.SIGUSR1, notice)  # the server answers before all copies are up, and whoever asks may signal
    start(settings, asked.replicas, asked.host, asked.port)
    signal.signal(signal.SIGTERM, notice)  # now, for Ray sets a handler of its own
    announce(asked, time.perf_counter() - began)
    try:
        while told.get() == signal.SIGUSR1:
            renew(asked)
    except KeyboardInterrupt:
        console.say("stopping", "Stopping, after the requests in progress.")
    stop()


def note(told: queue.SimpleQueue[int], number: int, frame: FrameType | None) -> None:
    """A signal's handler: what the loop does next."""
    told.put(number)


def renew(asked: Words) -> None:
    """Exchange the copies for such that serve what the files say now; what is wrong with them is told, and nothing
    changes.
    """
    from serve.deployment import exchange

    began = time.perf_counter()
    try:
        exchange(checked(asked), asked.replicas)
    except (UserError, RuntimeError) as error:
        console.warn([f"nothing was renewed: {error}"])
        return
    seconds = time.perf_counter() - began
    console.say("renewed", f"Renewed after {seconds:.0f} s.", seconds=round(seconds, 1))


def parse(words: Sequence[str]) -> Words:
    """The command line; prints help and exits where asked or where it is none."""
    return tyro.cli(Words, prog="naruto-add serve", args=list(words), config=(tyro.conf.OmitArgPrefixes,))


def checked(asked: Words) -> Settings:
    """The settings, after everything that can be told before anything is started; raises UserError."""
    from serve.auth import check_exposure, read_hashes

    hashes = (*asked.settings.keys, *(read_hashes(asked.keys_file) if asked.keys_file else ()))
    check_exposure(asked.host, hashes)
    served = changed(asked.settings, bundle=bundles(asked.settings)[STUDENT], keys=hashes)
    return renamed(served, settled)


def settled(name: str, kind: str) -> str:
    """A name that means the same artifact in every process until the next look, of one whose every file has been
    hashed; raises UserError.
    """
    whole = fetched.pinned(name, kind) if name.startswith(SCHEME) else str(Path(name).resolve())
    verify(open_artifact(fetched.folder(whole, kind), kind))
    return whole


def check_port(host: str, port: int) -> None:
    """Raise UserError where the address cannot be listened on."""
    try:
        with socket.create_server((host, port)):
            pass
    except (OSError, OverflowError) as error:
        raise UserError(f"{host}:{port} cannot be listened on ({error}). Choose another --port.") from error


def announce(asked: Words, seconds: float) -> None:
    """Say where it is and what to do there."""
    host = "127.0.0.1" if asked.host in ("0.0.0.0", "::") else asked.host
    url = f"http://{host}:{asked.port}"
    text = (
        f"Serving after {seconds:.0f} s. Ctrl-C stops.\n"
        f"  page to play on   {url}/\n"
        f"  OpenAI clients    base_url={url}/v1\n"
        f"  a picture         naruto-add generate 'A ninja in the rain' --url {url}"
    )
    console.say("serving", text, url=url, seconds=round(seconds, 1))


def show_new_key() -> None:
    """A key and its hash."""
    from serve.auth import hashed, new_key

    key = new_key()
    console.say("key", KEY_HELP.format(key=key, hash=hashed(key)), key=key, sha256=hashed(key))


if __name__ == "__main__":
    sys.exit(run_verb("serve", sys.argv[1:]))

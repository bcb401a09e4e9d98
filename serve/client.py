"""A client of the endpoint, for `naruto-add generate --url`: the standard library, and errors for a person."""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from naruto_add.errors import UserError

KEY_VARIABLE = "NARUTO_ADD_API_KEY"
TIMEOUT_S = 60.0
BUSY = (429, 503)
"""Refusals that pass by themselves."""


@dataclass(frozen=True)
class Drawn:
    """What came back: the file, and the model and step count that made it."""

    data: bytes
    model: str
    steps: int


def draw(url: str, wish: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Drawn:
    """Ask the server at `url` for one picture; `wish` holds the API's parameters. Raises UserError.

    A busy server is asked again when it says so, for up to `timeout_s`.
    """
    answer = ask(endpoint(url), wish, timeout_s)
    try:
        return Drawn(base64.b64decode(answer["data"][0]["b64_json"]), answer["model"], answer["steps"])
    except (KeyError, IndexError, TypeError, binascii.Error) as error:
        raise UserError(f"{url}: answered, but not with a picture; is it a naruto-add server?") from error


def endpoint(url: str) -> str:
    """The address to post to, from that of a server with or without /v1; raises UserError for what is no address."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"--url {url}: write it like http://127.0.0.1:8000.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}/v1/images/generations"


def ask(url: str, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """POST as JSON, with the key of the environment; raises UserError that says what to do."""
    key = os.environ.get(KEY_VARIABLE)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request, until = urllib.request.Request(url, json.dumps(body).encode(), headers), time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pause_s = wait_s(error)
            if error.code not in BUSY or time.monotonic() + pause_s >= until:
                raise UserError(refusal(url, error)) from error
            time.sleep(pause_s)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            text = f"{url}: no answer ({reason}). Start a server there: naruto-add serve RUN/bundle."
            raise UserError(text) from error


def wait_s(error: urllib.error.HTTPError) -> float:
    """How long the server asks to wait, in seconds; one where it does not say."""
    for name, per_s in (("Retry-After-Ms", 1000.0), ("Retry-After", 1.0)):
        said = error.headers.get(name, "")
        if said.isdecimal():
            return int(said) / per_s
    return 1.0


def refusal(url: str, error: urllib.error.HTTPError) -> str:
    """What the server's error means for who called."""
    try:
        message = json.load(error)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {error.code}; is it a naruto-add server?"
    if error.code == 401:
        message += f" Put the key into the environment: export {KEY_VARIABLE}=sk-naruto-..."
    return f"{urlsplit(url).netloc}: {message}"

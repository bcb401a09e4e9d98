"""API keys: only their sha256 is stored, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from naruto_add.errors import UserError, raise_all
from serve.errors import ApiError

PREFIX = "sk-naruto-"
HASH = re.compile(r"[0-9a-f]{64}")
ANYONE = "anyone"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def new_key() -> str:
    """A fresh API key of 192 random bits."""
    return PREFIX + secrets.token_urlsafe(24)


def hashed(key: str) -> str:
    """What is stored of a key. The keys are random, so a fast hash is as good as a slow one."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_hashes(path: Path) -> tuple[str, ...]:
    """The hashes in a file: one a line, anything after it is a comment; raises UserError for what is not one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--keys-file {path}: cannot be read ({error}).") from error
    words = [(number, line.split()[0]) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    raise_all(
        [
            f"{path}:{number}: not a sha256 in hex. Write the hash that naruto-add serve --new-key shows, not the key."
            for number, word in words
            if not HASH.fullmatch(word)
        ]
    )
    if not words:
        raise UserError(f"{path} holds no key. Make one with naruto-add serve --new-key.")
    return tuple(word for _, word in words)


def check_exposure(host: str, hashes: Sequence[str]) -> None:
    """Raise UserError where a server without keys would be reachable from other machines."""
    if host not in LOOPBACK and not hashes:
        raise UserError(
            f"--host {host} would let anybody on the network draw. Make a key with naruto-add serve --new-key, put its "
            "hash into a file and give --keys-file FILE; or keep the default 127.0.0.1."
        )


@dataclass(frozen=True)
class Keys:
    """Who may call."""

    hashes: tuple[str, ...]

    def caller(self, authorization: str | None) -> str:
        """The caller's name in logs and limits: the first 12 digits of the key's hash; raises ApiError 401."""
        if not self.hashes:
            return ANYONE
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise ApiError(401, "An API key is needed: Authorization: Bearer KEY.", code="missing_api_key")
        given = hashed(key.strip())
        # every hash is compared, so that time tells nothing about which one came close
        matches = [hmac.compare_digest(given, known) for known in self.hashes]
        if not any(matches):
            raise ApiError(401, "This API key is not known here.", code="invalid_api_key")
        return given[:12]


class KeyGate:
    """Lets nobody without a key past it, before a body is read; what stays open is the page and what machines probe."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the caller in the request's state, or answer 401."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            given = dict(scope["headers"]).get(b"authorization")
            try:
                caller = self.keys.caller(None if given is None else given.decode("latin-1"))
            except ApiError as refusal:
                scope["state"]["rejected"] = refusal.code
                await refusal.response()(scope, receive, send)
                return
            scope["state"]["caller"] = caller
            scope["state"]["about"] = {"caller": caller}
        await self.app(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether a path needs no key: results are protected by their unguessable names."""
    return path == "/" or path.startswith(("/health/", "/v1/images/results/"))

"""What a server remembers: pictures by what decides them (so a second request costs nothing), and results by link."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from serve.model import Pixels, Wish

MAX_RESULT_BYTES = 256 * 2**20
"""All results together; the oldest go first."""


class PictureCache:
    """The pictures drawn last, up to `max_bytes` of pixels. A key is all that decides a picture: weights and wish."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, Wish], Pixels] = OrderedDict()
        self._bytes = 0

    def get(self, digest: str, wish: Wish) -> Pixels | None:
        """The picture, if it is remembered."""
        pixels = self._kept.get((digest, wish))
        if pixels is not None:
            self._kept.move_to_end((digest, wish))
        return pixels

    def put(self, digest: str, wish: Wish, pixels: Pixels) -> None:
        """Remember it; what was used least recently is forgotten."""
        if pixels.nbytes > self.max_bytes or (digest, wish) in self._kept:
            return
        self._kept[digest, wish] = pixels
        self._bytes += pixels.nbytes
        while self._bytes > self.max_bytes:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.nbytes


class Result(NamedTuple):
    """A file that waits to be fetched."""

    data: bytes
    media_type: str
    expires: float


class Results:
    """Files by unguessable name, for `ttl_s` seconds. The name is the only key needed, as behind any such link."""

    def __init__(self, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ttl_s, self._clock = ttl_s, clock
        self._kept: OrderedDict[str, Result] = OrderedDict()
        self._bytes = 0

    def put(self, data: bytes, media_type: str) -> str:
        """Keep a file; returns its name."""
        name = secrets.token_urlsafe(24)
        self._kept[name] = Result(data, media_type, self._clock() + self.ttl_s)
        self._bytes += len(data)
        self._forget()
        return name

    def get(self, name: str) -> Result | None:
        """The file, None if there is none or its time is over."""
        self._forget()
        return self._kept.get(name)

    def _forget(self) -> None:
        """All lifetimes are equal, so the first are always the oldest."""
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if oldest.expires > self._clock() and self._bytes <= MAX_RESULT_BYTES:
                return
            self._kept.popitem(last=False)
            self._bytes -= len(oldest.data)

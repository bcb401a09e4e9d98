"""What all copies of the application must agree on: allowances, results behind links, everybody's metrics.

One copy keeps this itself. Several share one that lives in an actor (`serve.deployment`); each call costs a few
milliseconds there.
"""

from __future__ import annotations

import time
from typing import Protocol

from serve.errors import ApiError
from serve.limits import RateLimit
from serve.memory import Result, Results
from serve.settings import Settings

SILENCE_S = 60.0


class Desk(Protocol):
    """What a copy asks of it."""

    async def wait_s(self, caller: str, pictures: int) -> int:
        """Take pictures out of the caller's allowance: 0, or in how many seconds there is enough again."""

    async def keep(self, data: bytes, media_type: str) -> str:
        """Keep a file behind a link; returns its name."""

    async def fetch(self, name: str) -> Result | None:
        """The file of that name, while it lives."""

    async def texts(self) -> dict[str, str]:
        """The last metrics of the other copies, by copy."""


class OwnDesk:
    """A `Desk` in memory; also what the shared actor is made of."""

    def __init__(self, settings: Settings) -> None:
        self.limit = RateLimit(settings.requests_per_minute if settings.keys else 0)
        self.results = Results(settings.result_ttl_s)
        self._texts: dict[str, str] = {}
        self._heard: dict[str, float] = {}

    async def wait_s(self, caller: str, pictures: int) -> int:
        """See `Desk`."""
        return self.limit.take(caller, pictures)

    async def keep(self, data: bytes, media_type: str) -> str:
        """See `Desk`."""
        return self.results.put(data, media_type)

    async def fetch(self, name: str) -> Result | None:
        """See `Desk`."""
        return self.results.get(name)

    async def texts(self) -> dict[str, str]:
        """See `Desk`."""
        return self._texts

    async def report(self, copy: str, text: str) -> None:
        """A copy's metrics; those of copies that have been silent for a minute are forgotten."""
        self._texts[copy], self._heard[copy] = text, time.monotonic()
        for name in [name for name, heard in self._heard.items() if time.monotonic() - heard > SILENCE_S]:
            del self._texts[name], self._heard[name]


def refuse(wait_s: int, per_minute: int) -> None:
    """Raise ApiError 429 unless there is nothing to wait for."""
    if wait_s:
        text = f"This key may draw {per_minute} pictures a minute. Try again in {wait_s} s."
        raise ApiError(429, text, code="rate_limit_exceeded", retry_s=wait_s)

"""A real studio on a real, tiny bundle and teacher: 32 px, milliseconds a picture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from serve.app import create_app
from serve.settings import Settings
from serve.studio import Studio
from tests.served import bundle, teacher

__all__ = ["bundle", "teacher"]


@pytest.fixture(scope="session")
def studio(bundle: Path, teacher: Path) -> Iterator[Studio]:
    """An open studio with both models, nothing remembered, and a queue."""
    opened = Studio(Settings(bundle=str(bundle), teacher=str(teacher), max_batch=4, cache_mb=0, max_slowdown=0))
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(studio: Studio) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of its application, without sockets."""
    async with client_of(studio) as opened:
        yield opened


def client_of(studio: Studio, **headers: str) -> httpx2.AsyncClient:
    """A client of the application on this studio."""
    transport = httpx2.ASGITransport(create_app(studio), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://studio", headers=headers)

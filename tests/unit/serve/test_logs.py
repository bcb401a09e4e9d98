"""What is written down, and what is not."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serve import logs
from serve.studio import Studio
from tests.unit.serve.conftest import client_of

pytestmark = pytest.mark.anyio
SECRET = "a prompt that nobody should read"
KEY = "sk-naruto-secret"


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """The lines that a server wrote."""
    path = tmp_path / "serve.log"
    handlers, logs.LOGGER.handlers = logs.LOGGER.handlers, []
    logs.configure(str(path))
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    for handler in logs.LOGGER.handlers:
        handler.close()
    logs.LOGGER.handlers = handlers


async def test_a_line_a_request_without_prompt_or_key(studio: Studio, written: Any) -> None:
    async with client_of(studio, Authorization=f"Bearer {KEY}") as client:
        answer = await client.post("/v1/images/generations", json={"prompt": SECRET, "seed": 3})
        await client.post("/v1/images/generations", json={"prompt": SECRET, "steps": 99})
        await client.get(f"/{SECRET.replace(' ', '-')}")
        await client.get("/health/ready")
    drawn, refused, lost = written()
    assert SECRET[:10] not in json.dumps([drawn, refused, lost]) and KEY not in json.dumps([drawn, refused, lost])
    assert drawn["event"] == "request" and drawn["status"] == 200 and drawn["ms"] > 0
    assert drawn["request_id"] == answer.headers["x-request-id"]
    assert drawn["prompt_chars"] == len(SECRET) and len(drawn["prompt_sha256"]) == 16
    assert (drawn["model"], drawn["steps"], drawn["seed"], drawn["n"]) == ("student", 4, 3, 1)
    assert refused["status"] == 400 and lost["path"] == "other"


async def test_prompts_are_written_where_the_operator_wants_them(studio: Studio, written: Any) -> None:
    open_book = Studio(replace(studio.settings, log_prompts=True))
    open_book.abilities, open_book._engine = studio.abilities, studio._engine
    async with client_of(open_book) as client:
        await client.post("/v1/images/generations", json={"prompt": SECRET})
    assert written()[0]["prompt"] == SECRET


async def test_a_bug_is_ours_to_read_and_nobody_else_s(
    studio: Studio, written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the inside of the house")

    monkeypatch.setattr(studio, "order", broken)
    async with client_of(studio) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": SECRET})
    assert answer.status_code == 500 and answer.json()["error"]["type"] == "server_error"
    assert "inside" not in answer.text and "Traceback" not in answer.text
    assert answer.headers["x-request-id"] == written()[0]["request_id"]
    assert "the inside of the house" in written()[0]["traceback"]
    assert logs.LOGGER.level == logging.INFO

"""10,000 hostile requests on the application: no 5xx, every 4xx OpenAI-shaped; and Schemathesis on its document."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from dataclasses import replace
from typing import Any

import httpx2
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

from serve.app import create_app
from serve.studio import Studio
from tests.unit.serve.conftest import client_of

URL = "/v1/images/generations"
COUNT = 10_000
CHECKS = [
    schemathesis.checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]
FIELDS = ["prompt", "model", "n", "size", "response_format", "output_format", "output_compression", "seed", "steps"]
FIELDS += [
    "guidance_scale",
    "stream",
    "partial_images",
    "metadata",
    "user",
    "quality",
    "x" * 200,
    "\ud800",
    "",
    "__proto__",
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**70), 10**400, 0.5, 1e308, -0.0, float("nan"), float("inf")),
    *("", " ", "a", "\x00", "\ud800", "\u202e", "é" * 999, "x" * 1001, "x" * 30_000, "32x32", "auto", "png", "url"),
    *("${jndi:ldap://x}", "../../etc/passwd", "{{7*7}}", "' OR 1=1 --", "<script>", "%s%n", "\r\nSet-Cookie: a=b"),
    *([], {}, [1], {"a": {"b": [None]}}, [[[[[]]]]]),
]
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "NONSENSE"]
PATHS = [
    URL,
    URL + "/",
    "/v1/models",
    "/v1/models/%00",
    "/v1/models/..%2f..",
    "/v1/images/results/%ff",
    "//",
    "/%",
    "/metrics",
]
TYPES = [
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "\x00",
    "",
]


@pytest.fixture(scope="module")
def small(studio: Studio) -> Studio:
    """The same models with little room, so that refusals are among the answers."""
    made = Studio(replace(studio.settings, max_prompt_chars=64, cache_mb=16))
    made.abilities, made._engine = studio.abilities, studio._engine
    return made


def hostile(chance: random.Random) -> dict[str, Any]:
    """A request: mostly a body that nearly fits, else noise, odd methods, paths and headers."""
    body: dict[str, Any] = {"prompt": "a", "steps": 1, "seed": chance.randrange(4)}
    for field in chance.sample(FIELDS, chance.randrange(4)):
        body[field] = chance.choice(VALUES)
    content = json.dumps(body).encode()
    kind = chance.randrange(10)
    if kind == 0:
        content = chance.randbytes(chance.choice([0, 1, 100, 70_000]))
    if kind == 1:
        cut = chance.randrange(len(content))
        content = content[:cut] + chance.randbytes(2) + content[cut + 1 :]
    if kind == 2:
        content = chance.choice(
            [b"[" * 50_000, b'{"a":' * 9_000, b"null", b"9" * 9_000, b'"\\u0000"', b"\xef\xbb\xbf{}"]
        )
    odd = kind == 3
    return {
        "method": chance.choice(METHODS) if odd else "POST",
        "url": chance.choice(PATHS) if odd else URL,
        "content": content,
        "headers": {"content-type": chance.choice(TYPES) if kind in (4, 5) else "application/json"},
    }


def check(answer: httpx2.Response, request: dict[str, Any]) -> None:
    """No 5xx, and errors in OpenAI's shape; answers to HEAD have no body."""
    told = (
        f"{request['method']} {request['url']} {request['content'][:200]!r} -> {answer.status_code} {answer.text[:200]}"
    )
    assert answer.status_code < 500, told
    assert "x-request-id" in answer.headers, told
    if answer.status_code >= 400 and request["method"] != "HEAD":
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"], told


@pytest.mark.slow
@pytest.mark.anyio
async def test_ten_thousand_hostile_requests(small: Studio) -> None:
    chance = random.Random(0)
    statuses: dict[int, int] = {}
    async with client_of(small) as client:
        for _ in range(COUNT // 8):
            requests = [hostile(chance) for _ in range(8)]
            answers = await asyncio.gather(*(client.request(**request) for request in requests))
            for answer, request in zip(answers, requests, strict=True):
                check(answer, request)
                statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert (await client.post(URL, json={"prompt": "a"})).status_code == 200
    assert statuses[200] > COUNT / 10 and statuses[400] > COUNT / 10, statuses


def test_what_the_document_says_is_so(small: Studio) -> None:
    """Schemathesis: every operation, requests that fit its schema and such that do not."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(small))
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 8
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try_out(operation, mode)


def try_out(operation: Any, mode: GenerationMode) -> None:
    """Fifty requests of this kind."""

    @settings(max_examples=50, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and case.body.get("stream"):
            case.body["stream"] = False  # events are not JSON; test_api.py reads them
        case.call_and_validate(checks=CHECKS)

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # a GET without parameters has no wrong form
        answers()

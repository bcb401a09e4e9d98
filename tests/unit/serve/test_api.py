"""The application over ASGI, on real tiny models."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy
import pytest
from PIL import Image

from jobs.measuring.served import psnr
from naruto_add import __version__
from naruto_add.artifact import read_manifest
from naruto_add.errors import UserError
from naruto_add.generate import generate
from serve.limits import BodyLimit
from serve.pictures import read_settings
from serve.settings import Settings, bundles
from serve.studio import Studio
from tests.tiny import SIZE_PX
from tests.unit.serve.conftest import client_of

pytestmark = pytest.mark.anyio
URL = "/v1/images/generations"
PROMPT = "Ninja en armure sombre lançant un shuriken"


def picture(answer: httpx2.Response, index: int = 0) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][index]["b64_json"])))


def refusal(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The error of an answer, after checking that it has OpenAI's shape."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["type"]
    return error


async def test_a_picture_is_that_of_the_command_line(client: httpx2.AsyncClient, bundle: Path) -> None:
    answer = await client.post(URL, json={"prompt": PROMPT, "seed": 7, "steps": 3})
    drawn, plain = picture(answer), generate(PROMPT, bundle, 3, 7)
    assert drawn.size == (SIZE_PX, SIZE_PX) and drawn.format == "PNG"
    assert psnr(numpy.asarray(drawn), numpy.asarray(plain)) >= 47, (
        "a decoder in bfloat16 is within 48.1 dB before rounding to levels (serve.compiled)"
    )
    body = answer.json()
    assert body["model"] == "student" and body["steps"] == 3 and body["data"][0]["seed"] == 7
    assert body["bundle"] == read_manifest(bundle).digest


async def test_one_request_makes_n_pictures_of_consecutive_seeds(client: httpx2.AsyncClient) -> None:
    several = await client.post(URL, json={"prompt": PROMPT, "seed": 2**32 - 1, "n": 3})
    seeds = [entry["seed"] for entry in several.json()["data"]]
    assert seeds == [2**32 - 1, 0, 1]
    for index, seed in enumerate(seeds):
        alone = await client.post(URL, json={"prompt": PROMPT, "seed": seed})
        assert picture(alone).tobytes() == picture(several, index).tobytes()


async def test_without_a_seed_every_picture_is_another(client: httpx2.AsyncClient) -> None:
    first, second = [await client.post(URL, json={"prompt": PROMPT}) for _ in range(2)]
    assert first.json()["data"][0]["seed"] != second.json()["data"][0]["seed"]
    assert picture(first).tobytes() != picture(second).tobytes()


@pytest.mark.parametrize(("output_format", "file"), [("png", "PNG"), ("webp", "WEBP"), ("jpeg", "JPEG")])
async def test_formats_and_their_metadata(client: httpx2.AsyncClient, output_format: str, file: str) -> None:
    asked = {"prompt": PROMPT, "seed": 5, "output_format": output_format, "output_compression": 80}
    plain, told = [picture(await client.post(URL, json={**asked, "metadata": flag})) for flag in (False, True)]
    assert plain.format == file and read_settings(plain) is None
    settings = read_settings(told)
    assert settings is not None
    assert settings["prompt"] == PROMPT and settings["seed"] == 5 and settings["steps"] == 4
    assert len(settings["bundle"]) == 64 and settings["software"] == f"naruto-add {__version__}"


async def test_a_url_can_be_fetched_without_a_key_and_nothing_else_can_be_guessed(client: httpx2.AsyncClient) -> None:
    answer = await client.post(URL, json={"prompt": PROMPT, "seed": 7, "response_format": "url"})
    entry = answer.json()["data"][0]
    assert "b64_json" not in entry
    fetched = await client.get(entry["url"])
    inline = await client.post(URL, json={"prompt": PROMPT, "seed": 7})
    assert fetched.headers["content-type"] == "image/png"
    assert fetched.content == base64.b64decode(inline.json()["data"][0]["b64_json"])
    refusal(await client.get("/v1/images/results/guess"), 404)


async def test_the_teacher_draws_with_guidance_beside_the_student(client: httpx2.AsyncClient) -> None:
    asked = {"prompt": PROMPT, "seed": 7, "model": "teacher", "steps": 6}
    strong, weak = [picture(await client.post(URL, json={**asked, "guidance_scale": s})) for s in (5.0, 1.0)]
    assert strong.tobytes() != weak.tobytes()
    by_default = (await client.post(URL, json=asked)).json()
    assert by_default["guidance_scale"] == 3.0 and by_default["steps"] == 6


async def events(answer: httpx2.Response) -> list[dict[str, Any]]:
    """The events of a stream."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    text = answer.text
    parsed = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        parsed.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {parsed[-1]['type']}"
    return parsed


@pytest.mark.parametrize(("wanted", "partial"), [({}, 3), ({"partial_images": 1}, 1), ({"partial_images": 0}, 0)])
async def test_a_stream_shows_previews_then_the_picture(
    client: httpx2.AsyncClient, wanted: dict[str, int], partial: int
) -> None:
    asked = {"prompt": PROMPT, "seed": 7}
    seen = await events(await client.post(URL, json={**asked, **wanted, "stream": True}))
    assert [entry["type"] for entry in seen] == [
        *["image_generation.partial_image"] * partial,
        "image_generation.completed",
    ]
    assert [entry["partial_image_index"] for entry in seen[:-1]] == list(range(partial))
    whole = await client.post(URL, json=asked)
    assert seen[-1]["b64_json"] == whole.json()["data"][0]["b64_json"]
    assert len({entry["b64_json"] for entry in seen}) == partial + 1


@pytest.mark.parametrize(
    ("body", "status", "param", "says"),
    [
        ({"prompt": PROMPT, "steps": 5}, 400, "steps", "1 to 4"),
        ({"prompt": PROMPT, "steps": 0}, 400, "steps", "greater than or equal to 1"),
        ({"prompt": PROMPT, "n": 5}, 400, "n", "at most 4"),
        ({"prompt": PROMPT, "n": 2, "stream": True}, 400, "n", "stream"),
        ({"prompt": PROMPT, "size": "512x512"}, 400, "size", "32x32"),
        ({"prompt": PROMPT, "seed": -1}, 400, "seed", "greater"),
        ({"prompt": PROMPT, "seed": 2**32}, 400, "seed", "less"),
        ({"prompt": PROMPT, "guidance_scale": 2}, 400, "guidance_scale", "without guidance"),
        ({"prompt": "x" * 1001}, 400, "prompt", "at most 1000"),
        ({"prompt": " \n"}, 400, "prompt", "blank"),
        ({"prompt": None}, 400, "prompt", "string"),
        ({}, 400, "prompt", "missing"),
        ({"prompt": PROMPT, "sede": 1}, 400, "sede", "did you mean seed?"),
        ({"prompt": PROMPT, "model": "dall-e"}, 404, "model", "student, teacher"),
        ([], 400, None, "dictionary"),
    ],
)
async def test_mistakes_are_told(
    client: httpx2.AsyncClient, body: Any, status: int, param: str | None, says: str
) -> None:
    error = refusal(await client.post(URL, json=body), status)
    assert error["type"] == "invalid_request_error" and error["param"] == param
    assert says in error["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 60_000, b'{"prompt": "\\ud800"}', b'{"seed": ' + b"9" * 5000]
)
async def test_bodies_that_are_no_json_are_told_so(client: httpx2.AsyncClient, body: bytes) -> None:
    refusal(await client.post(URL, content=body, headers={"content-type": "application/json"}), 400)


async def test_the_framework_s_own_errors_have_the_shape_too(client: httpx2.AsyncClient) -> None:
    assert "GET /nope" in refusal(await client.get("/nope"), 404)["message"]
    wrong = await client.get(URL)
    assert wrong.headers["allow"] == "POST" and refusal(wrong, 405)
    refusal(await client.get("/v1/models/dall-e"), 404)


async def test_long_bodies_are_refused_while_they_arrive(client: httpx2.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(10_000):
            yield b" " * 1024
        raise AssertionError("read to the end")

    refusal(await client.post(URL, content=b" " * 70_000), 413)
    refusal(await client.post(URL, content=endless()), 413)


async def test_bodies_that_trickle_in_are_given_up() -> None:
    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> None:
        raise AssertionError("it was passed on")

    scope = {"type": "http", "method": "POST", "headers": [], "state": {}}
    await BodyLimit(never, 1000, 0.1)(scope, trickle, send)
    assert sent[0]["status"] == 408 and json.loads(sent[1]["body"])["error"]["code"] == "body_too_slow"


async def test_several_bundles_by_name(studio: Studio, bundle: Path) -> None:
    both = Studio(replace(studio.settings, teacher=None, also=(f"second={bundle}",)))
    both.open()
    async with client_of(both) as client:
        assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["student", "second"]
        asked = {"prompt": PROMPT, "seed": 7}
        first, second = [await client.post(URL, json={**asked, "model": name}) for name in ("student", "second")]
        assert second.json()["model"] == "second" and picture(first).tobytes() == picture(second).tobytes()
        refusal(await client.post(URL, json={**asked, "model": "teacher"}), 404)
    both.close()


@pytest.mark.parametrize(
    ("also", "says"), [("runs/x", "NAME="), ("student=x", "taken"), ("teacher=x", "taken"), ("a b=x", "NAME=")]
)
def test_names_of_bundles_are_checked(also: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        bundles(Settings(bundle="x", also=("fine=y", also)))


async def test_models_health_version_and_metrics(client: httpx2.AsyncClient, bundle: Path) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in listed] == ["student", "teacher"]
    assert listed[0]["steps"] == {"min": 1, "max": 4, "default": 4} and listed[0]["guidance_scale"] is None
    assert listed[1]["guidance_scale"] == 3.0
    assert (await client.get("/v1/models/student")).json() == listed[0]
    assert (await client.get("/health/live")).json() == (await client.get("/health/ready")).json() == {"status": "ok"}
    version = (await client.get("/version")).json()
    assert version == {"version": __version__, "models": {model["id"]: model["digest"] for model in listed}}

    await client.post(URL, json={"prompt": PROMPT})
    metrics = (await client.get("/metrics")).text
    for name in ("images_total", "batch_pictures_bucket", "phase_seconds_bucket", "process_resident_memory_bytes"):
        assert f"naruto_add_{name}" in metrics, name


async def test_a_request_id_comes_back(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/version", headers={"X-Request-Id": "mine-1"})).headers["x-request-id"] == "mine-1"
    forged = await client.get("/version", headers={"X-Request-Id": "a b"})
    assert len(forged.headers["x-request-id"]) == 32


async def test_before_it_has_drawn_it_is_not_ready(studio: Studio) -> None:
    async with client_of(Studio(studio.settings)) as unopened:
        assert refusal(await unopened.get("/health/ready"), 503)["code"] == "starting"
        refused = await unopened.post(URL, json={"prompt": PROMPT})
        assert refusal(refused, 503)["type"] == "server_error" and int(refused.headers["retry-after"]) >= 1
        assert (await unopened.get("/health/live")).status_code == 200


async def test_the_openapi_document_says_what_is_answered(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"][URL]["post"]
    assert {"200", "400", "401", "413", "429", "503", "504"} <= set(operation["responses"])
    assert "422" not in json.dumps(document) and "HTTPValidationError" not in json.dumps(document)


async def test_the_page_is_one_file_and_may_load_nothing_else(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace("http://www.w3.org", "") and "https://" not in page.text


async def test_a_request_that_takes_too_long_is_dropped(studio: Studio) -> None:
    hasty = Studio(replace(studio.settings, timeout_s=0.001))
    hasty.abilities, hasty._engine = studio.abilities, studio._engine
    async with client_of(hasty) as client:
        assert refusal(await client.post(URL, json={"prompt": PROMPT}), 504)["code"] == "timeout"
    for _ in range(200):
        if not studio._engine.waiting and not studio._engine.drawing:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("its place was not freed")

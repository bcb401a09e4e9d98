"""A real server as users start it (Ray Serve, sockets), and the clients that users have."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import openai
import pytest
from PIL import Image

from jobs.measuring.served import psnr
from naruto_add.generate import generate
from serve.client import draw
from serve.pictures import read_settings
from tests.conftest import Done
from tests.servers import Server, free_port, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PROMPT = "Ninja en armure sombre lançant un shuriken"


def levels(data: bytes) -> numpy.ndarray:
    return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def client(one_server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{one_server.url}/v1", api_key="none", max_retries=0)


def test_an_update_under_load_costs_nobody_anything(one_server: Server) -> None:
    """The copy is exchanged for a new one, and no request fails: a busy server is only asked again when it says so."""
    [old] = one_server.copy_pids()
    stop, drawn = threading.Event(), []

    def client() -> None:
        while not stop.wait(0.1):  # a load that leaves the new copy time to start
            drawn.append(draw(one_server.url, {"prompt": PROMPT, "steps": 2}))  # raises whatever fails

    with ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(client) for _ in range(3)]
        try:
            os.kill(one_server.pid, signal.SIGUSR1)
            wait_until(lambda: old not in one_server.copy_pids(), 120)
            before = len(drawn)
            wait_until(lambda: len(drawn) > before + 5, 30)
        finally:
            stop.set()
    for each in clients:
        each.result()
    assert old not in one_server.copy_pids() and len(one_server.copy_pids()) == 1
    assert before > 5 and len(drawn) > before + 5, "there was no load"


def test_the_official_client_draws_the_command_line_s_picture(client: openai.OpenAI, bundle: Path) -> None:
    answer = client.images.generate(model="student", prompt=PROMPT, n=2, size="32x32", extra_body={"seed": 7})
    assert answer.data is not None and len(answer.data) == 2
    drawn = levels(base64.b64decode(answer.data[0].b64_json or ""))
    plain = numpy.asarray(generate(PROMPT, bundle, 4, 7))
    assert psnr(drawn, plain) >= 47, (
        "a decoder in bfloat16 is within 48.1 dB before rounding to levels (serve.compiled)"
    )
    assert [model.id for model in client.models.list()] == ["student", "teacher"]


def test_the_official_client_streams(client: openai.OpenAI) -> None:
    stream = client.images.generate(prompt=PROMPT, stream=True, partial_images=2, extra_body={"seed": 7})
    seen = list(stream)
    kinds = [event.type for event in seen]
    assert kinds == [*["image_generation.partial_image"] * 2, "image_generation.completed"]
    assert all(levels(base64.b64decode(event.b64_json)).shape == (32, 32, 3) for event in seen)


def test_the_official_client_gets_a_url_and_understands_errors(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt=PROMPT, response_format="url")
    assert answer.data is not None and answer.data[0].url is not None
    with urllib.request.urlopen(answer.data[0].url) as fetched:
        assert fetched.headers["Content-Type"] == "image/png"
    with pytest.raises(openai.BadRequestError, match="1 to 4") as refused:
        client.images.generate(prompt=PROMPT, extra_body={"steps": 7})
    assert refused.value.param == "steps" and refused.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.images.generate(prompt=PROMPT, model="dall-e-3")


def test_curl_and_the_request_id(one_server: Server) -> None:
    body = json.dumps({"prompt": PROMPT, "seed": 7, "metadata": True, "output_format": "webp"})
    command = ["curl", "-sS", "-i", "-H", "X-Request-Id: mine-7", "-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(
        [*command, f"{one_server.url}/v1/images/generations"], capture_output=True, timeout=60, check=True
    )
    head, _, answer = done.stdout.partition(b"\r\n\r\n")
    assert head.lower().count(b"x-request-id: mine-7") == 1
    settings = read_settings(Image.open(io.BytesIO(base64.b64decode(json.loads(answer)["data"][0]["b64_json"]))))
    assert settings is not None and settings["seed"] == 7 and settings["prompt"] == PROMPT
    lines = [json.loads(line) for line in one_server.log.read_text().splitlines()]
    [line] = [line for line in lines if line.get("request_id") == "mine-7"]
    assert line["status"] == 200 and PROMPT not in json.dumps(line, ensure_ascii=False)


def test_generate_url_uses_it(one_server: Server, here: Callable[..., Done], tmp_path: Path) -> None:
    out = tmp_path / "ninja.webp"
    done = here(["generate", PROMPT, "--url", one_server.url, "--seed", "7", "--steps", "2", "--out", out])
    assert done.returncode == 0, done.stderr
    assert Image.open(out).format == "WEBP"
    done = here(["generate", PROMPT, "--url", one_server.url, "--steps", "9", "--out", out])
    assert done.returncode == 2 and "1 to 4 steps" in done.stderr
    done = here(["generate", PROMPT, "--url", f"http://127.0.0.1:{free_port()}", "--out", out])
    assert done.returncode == 2 and "naruto-add serve" in done.stderr


def test_the_same_picture_in_a_crowd(one_server: Server) -> None:
    alone = [draw(one_server.url, {"prompt": PROMPT, "seed": seed}).data for seed in range(4)]
    with ThreadPoolExecutor(12) as pool:
        wishes = [
            {"prompt": PROMPT, "seed": k % 4} if k % 3 else {"prompt": f"other {k}", "steps": 3} for k in range(36)
        ]
        crowd = list(pool.map(lambda wish: draw(one_server.url, wish).data, wishes))
    for wish, data in zip(wishes, crowd, strict=True):
        if "seed" in wish:
            assert data == alone[int(wish["seed"])]


def test_more_than_it_can_draw_is_refused_at_once_and_in_shape(one_server: Server) -> None:
    """Refusals are quick while the engine is busy, and it is back to normal when the crowd has left. Most are refused
    at the door, and told to the copy by whoever comes next.
    """
    before = len(one_server.log.read_text().splitlines())

    def one(seed: int) -> tuple[int, float, dict[str, Any]]:
        body = json.dumps({"prompt": "a", "model": "teacher", "steps": 20, "seed": seed}).encode()
        request = urllib.request.Request(
            f"{one_server.url}/v1/images/generations", body, {"Content-Type": "application/json"}
        )
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, time.perf_counter() - began, {}
        except urllib.error.HTTPError as error:
            assert int(error.headers["Retry-After"]) >= 1
            return error.code, time.perf_counter() - began, json.load(error)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(one, range(160)))
    assert {status for status, _, _ in answers} == {200, 429}
    assert all(body["error"]["code"] == "queue_full" for status, _, body in answers if status == 429)
    draw(one_server.url, {"prompt": PROMPT})
    lines = [json.loads(line) for line in one_server.log.read_text().splitlines()[before:]]
    at_the_door = sum(line["requests"] for line in lines if line["event"] == "refused at the door")
    by_the_copy = sum(line.get("status") == 429 for line in lines)
    assert at_the_door + by_the_copy == sum(status == 429 for status, _, _ in answers)
    assert at_the_door > by_the_copy


def test_it_listens_on_the_loopback_alone(one_server: Server) -> None:
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout
    places = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{one_server.port}")]
    assert places == [f"127.0.0.1:{one_server.port}"]

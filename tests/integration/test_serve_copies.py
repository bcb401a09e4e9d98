"""Two copies behind one address: what they share, and what happens when one dies under load."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serve.auth import hashed, new_key
from tests.servers import Server, serving, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]
KEY, FREE_KEY = new_key(), new_key()


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{hashed(KEY)}\n{hashed(FREE_KEY)}\n")
    flags = [
        "--keys-file",
        keys,
        "--min-replicas",
        "2",
        "--max-replicas",
        "2",
        "--cache-mb",
        "0",
        "--max-slowdown",
        "0",
    ]
    with serving(bundle, *flags, "--requests-per-minute", "6000") as started:
        yield started


def call(server: Server, path: str, body: dict[str, Any] | None = None, key: str | None = KEY) -> bytes:
    """The answer's body; raises as urllib does."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(server.url + path, data, headers), timeout=60) as answer:
        return answer.read()


def drawn(server: Server) -> dict[str, float]:
    """Pictures drawn by each copy; one that died is known for a minute more."""
    text = call(server, "/metrics").decode()
    found = re.findall(r'naruto_add_images_total\{model="student",replica="(\w+)"\} (\S+)', text)
    return {copy: float(pictures) for copy, pictures in found}


def test_both_work_and_draw_alike(server: Server) -> None:
    """Asked until both have drawn: another test may have killed one, and the new one is still starting."""
    wish = {"prompt": "a ninja", "seed": 7}
    before, pictures = drawn(server), set[str]()

    def both_drew() -> bool:
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda _: json.loads(call(server, "/v1/images/generations", wish)), range(48))
        pictures.update(answer["data"][0]["b64_json"] for answer in answers)
        return sum(count > before.get(copy, 0) for copy, count in drawn(server).items()) >= 2

    assert wait_until(both_drew), "one of them draws nothing, or its metrics are missing"
    assert len(pictures) == 1


def test_a_link_works_whichever_copy_answers(server: Server) -> None:
    asked = {"prompt": "a ninja", "seed": 7, "response_format": "url"}
    url = json.loads(call(server, "/v1/images/generations", asked))["data"][0]["url"]
    path = url.removeprefix(server.url)
    assert all(call(server, path, key=None).startswith(b"\x89PNG") for _ in range(12))


def test_who_has_no_key_is_not_served(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(server, "/v1/models", key=None)
    assert refused.value.code == 401


def test_a_copy_that_dies_under_load_is_replaced_and_costs_nobody_more_than_a_retry(server: Server) -> None:
    """Eight clients, each of which tries a second time once: at least 99.9 % succeed."""
    stop = threading.Event()
    outcomes: list[bool] = []

    def client(number: int) -> None:
        seed = number * 100_000
        while not stop.wait(0.2):  # a load that leaves the new copy time to start
            seed += 1
            outcomes.append(attempt(seed) or attempt(seed))

    def attempt(seed: int) -> bool:
        try:
            call(server, "/v1/images/generations", {"prompt": "a ninja", "seed": seed, "steps": 2})
        except (urllib.error.URLError, OSError):
            return False
        return True

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in clients:
        thread.start()
    wait_until(lambda: len(outcomes) > 20 and len(drawn(server)) == 2)
    before, known = len(outcomes), set(drawn(server))
    os.kill(server.copy_pids()[0], signal.SIGKILL)

    def new() -> bool:
        try:
            return any(count for copy, count in drawn(server).items() if copy not in known)
        except (urllib.error.URLError, OSError):  # it had been given to the one that died
            return False

    replaced = wait_until(new, 120)
    stop.set()
    for thread in clients:
        thread.join()
    assert replaced, "the copy was not replaced by one that draws"
    assert before > 20 and len(outcomes) > before + 20, "there was no load"
    assert sum(outcomes) / len(outcomes) >= 0.999, f"{outcomes.count(False)} of {len(outcomes)} failed twice"

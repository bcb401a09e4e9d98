"""A run on s3://bucket/prefix, as a user has it: the local pipeline's digests, whatever machine goes on with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from naruto_add import artifact
from naruto_add.storage import mirror, s3
from tests.conftest import REPOSITORY, Done
from tests.faults import Asked, Fault, Storage, first, storage

Here = Callable[[Sequence[str | Path]], Done]
RUN = "s3://ninjas/runs/tiny"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Storage]:
    """An S3 server with a bucket, found by the standard settings; what is here is cached in a folder of its own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "very-secret")
    monkeypatch.setenv(mirror.CACHE, str(tmp_path / "first"))
    with storage() as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        s3.client.cache_clear()
        found.s3.create_bucket(Bucket="ninjas")
        yield found
    s3.client.cache_clear()


def distill_checkpoint_is_whole(asked: Asked) -> bool:
    """Whether a request puts the marker of a checkpoint of the distillation."""
    parts = asked.key.split("/")
    return asked.puts("/distill-") and parts[-1] == artifact.MANIFEST and parts[-2].startswith("images-")


def test_killed_while_it_distils_it_goes_on_from_an_empty_machine_and_ends_with_the_local_digests(
    there: Storage, tiny_run: Path, tiny_words: list[str], tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*tiny_words, "--distill.optim.checkpoint-images", "4", "--distill.optim.preview-images", "4"]
    command = [sys.executable, "-m", "naruto_add", "run", *words, "--run", RUN]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    failing = first(3, lambda asked: len(asked.key) % 3 == 0, Fault(503))

    def fate(asked: Asked) -> Fault | None:
        if distill_checkpoint_is_whole(asked):
            os.kill(process.pid, signal.SIGKILL)
            return None
        return failing(asked)

    there.fate = fate
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, stderr
    assert '"stage": "finetune", "status": "done"' in stdout and '"stage": "distill", "status": "done"' not in stdout

    monkeypatch.setenv(mirror.CACHE, str(tmp_path / "second"))
    there.fate = lambda asked: None
    done = here(["distill", *words, "--run", RUN])
    assert done.returncode == 0, done.stderr
    steps = [line["images"] for line in map(json.loads, done.stdout.splitlines()) if "images" in line]
    assert steps[0] > 4, "it went on from the checkpoint instead of from the start"
    for kind in ("shards", "teacher", "student"):
        local = artifact.read_manifest(tiny_run / kind)
        assert artifact.read_manifest(mirror.local(RUN) / kind).digest == local.digest
        marker = there.s3.get_object(Bucket="ninjas", Key=f"runs/tiny/{kind}/{artifact.MANIFEST}")["Body"].read()
        assert artifact.parse_manifest(marker, RUN).digest == local.digest
    assert not [key for key in there.keys("ninjas") if "checkpoints" in key]
    assert [key for key in there.keys("ninjas") if "finetune" in key and key.endswith("metrics.jsonl")]
    assert "very-secret" not in stdout + stderr + done.stdout + done.stderr


@pytest.mark.usefixtures("there")
def test_mistakes_about_the_storage_are_told_before_anything_begins(here: Here, tiny_words: list[str]) -> None:
    done = here(["run", *tiny_words, "--run", "s3://", "--evaluate.num-images", "1"])
    assert done.returncode == 2
    assert "2 problems" in done.stderr and "s3:// names no bucket" in done.stderr and "num_images" in done.stderr
    for verb in ("run", "distill"):
        done = here([verb, *tiny_words, "--run", "s3://nobody/x"])
        assert done.returncode == 2 and "s3://nobody/x/: there is no such bucket" in done.stderr, done.stderr

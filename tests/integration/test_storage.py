"""A run on s3://bucket/prefix, as a user has it: the local pipeline's digests, whatever machine goes on with it; and
what is drawn and served from there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from jobs import serve
from naruto_add import artifact
from naruto_add.errors import UserError
from naruto_add.storage import mirror, s3, tree
from naruto_add.storage.s3 import Store
from serve.deployment import application
from serve.studio import open_models
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


@pytest.fixture
def sent(there: Storage, bundle: Path, teacher: Path) -> str:
    """The URI of the run whose bundle and teacher are in the storage."""
    for kind, folder in (("bundle", bundle), ("teacher", teacher)):
        tree.send(Store(s3.parse(RUN)), kind, folder)
    there.asked.clear()
    return RUN


def bodies(there: Storage) -> list[str]:
    """The files, manifests apart, that were asked for since the last look."""
    names = [asked.key for asked in there.asked if asked.gets() and not asked.key.endswith(artifact.MANIFEST)]
    there.asked.clear()
    return names


def test_a_picture_from_a_bundle_in_a_bucket_is_that_of_the_folder(
    there: Storage, sent: str, bundle: Path, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(source: str | Path, name: str) -> bytes:
        done = here(["generate", "a ninja", "--bundle", source, "--seed", "3", "--out", tmp_path / name])
        assert done.returncode == 0, done.stderr
        return (tmp_path / name).read_bytes()

    wanted = drawn(bundle, "folder.png")
    assert drawn(f"{sent}/bundle", "first.png") == wanted and len(bodies(there)) > 5
    assert drawn(f"{sent}/bundle", "second.png") == wanted and bodies(there) == []

    monkeypatch.setenv(mirror.CACHE, str(tmp_path / "second"))
    there.fate = lambda asked: Fault(flips="down") if asked.gets("model_index.json") else None
    done = here(["generate", "a ninja", "--bundle", f"{sent}/bundle", "--out", tmp_path / "third.png"])
    assert done.returncode == 2 and "model_index.json is damaged in the storage" in done.stderr
    assert not (tmp_path / "third.png").exists()


@pytest.mark.usefixtures("there")
def test_a_bundle_that_is_not_in_the_bucket_is_told_before_torch_or_ray_is_loaded() -> None:
    code = """
import sys
from naruto_add.cli import main
print(main(["generate", "a ninja", "--bundle", "s3://ninjas/nothing"]), main(["serve", "s3://nobody/x"]))
print({"torch", "ray"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.stdout.split() == ["2", "2", "set()"], done.stderr
    assert "s3://ninjas/nothing: no bundle there" in done.stderr
    assert "s3://nobody/x/: there is no such bucket" in done.stderr


@pytest.mark.slow
def test_a_server_names_one_version_and_every_machine_fetches_it_for_itself(
    there: Storage, sent: str, bundle: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"bundle": f"{sent}/bundle", "also": [f"second={bundle}"], "teacher": f"{sent}/teacher"}
    deployed = application(words)._bound_deployment.init_args[0]
    assert bodies(there) == [], "whoever starts the copies fetches nothing"
    for name, kind in ((deployed.bundle, "bundle"), (deployed.teacher, "teacher")):
        assert name.startswith(f"{sent}/{kind}/")
        assert f"{name}/{artifact.MANIFEST}".removeprefix("s3://ninjas/") in there.keys("ninjas")
    assert deployed.also == (f"second={bundle}",)
    started = serve.checked(serve.parse([words["bundle"], "--teacher", words["teacher"]]))
    assert (started.bundle, started.teacher) == (deployed.bundle, deployed.teacher) and bodies(there)

    monkeypatch.setenv(mirror.CACHE, str(tmp_path / "another machine"))
    opened = {model.ability.name: model.ability.digest for model in open_models(deployed)}
    wanted = {"student": bundle, "second": bundle, "teacher": teacher}
    assert opened == {name: artifact.read_manifest(path).digest for name, path in wanted.items()}
    with pytest.raises(UserError, match="no bundle there"):
        application({"bundle": f"{sent}/nothing"})

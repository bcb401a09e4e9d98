"""The committed configs of the endpoint and the README's words on it; tests/integration/test_serve.py runs them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml
from ray.serve.schema import ServeDeploySchema

from jobs import bench, compare, generate, serve
from jobs.ablate import AblateWords
from jobs.arguments import StageWords, parse_words
from jobs.tune import TuneWords
from naruto_add.errors import UserError
from serve.deployment import application, environment, read_section
from serve.settings import Replicas, Settings
from tests.conftest import REPOSITORY

CLUSTER = REPOSITORY / "cluster"
OWN_WORDS: dict[str, type[StageWords]] = {"tune": TuneWords, "ablate": AblateWords}


def configs() -> dict[str, dict[str, Any]]:
    """The Serve configs, by file."""
    kuberay = list(yaml.safe_load_all((CLUSTER / "serve-kuberay.yaml").read_text(encoding="utf-8")))
    [service] = [each for each in kuberay if each["kind"] == "RayService"]
    return {
        "serve.yaml": yaml.safe_load((CLUSTER / "serve.yaml").read_text(encoding="utf-8")),
        "serve-kuberay.yaml": yaml.safe_load(service["spec"]["serveConfigV2"]),
    }


@pytest.mark.parametrize("name", ["serve.yaml", "serve-kuberay.yaml"])
def test_a_config_is_one_of_ray_s_and_ours(name: str) -> None:
    config = configs()[name]
    [deployed] = ServeDeploySchema.model_validate(config).applications
    assert deployed.import_path == f"{application.__module__}:{application.__name__}"
    args = dict(deployed.args)
    replicas = read_section(Replicas, args.pop("replicas"))
    settings = read_section(Settings, args)
    wanted = environment(settings)
    assert {key: wanted[key] for key in deployed.runtime_env["env_vars"]} == deployed.runtime_env["env_vars"]
    assert replicas.max_replicas > 1
    assert config["http_options"]["host"] == "127.0.0.1" or settings.keys, "open to the network without keys"


def test_a_wrong_setting_in_a_config_is_told() -> None:
    with pytest.raises(UserError, match="max_bach"):
        application({"bundle": "x", "max_bach": 3})
    with pytest.raises(UserError, match="max_replicas"):
        application({"bundle": "x", "replicas": {"max_replicas": 0}})


def test_the_readme_s_commands_exist(tmp_path: Path) -> None:
    """They wait for requests, need a server, or a quiet machine for long, so they are only parsed here."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    whole = [block.replace("\\\n", "") for block in blocks]
    lines = [shlex.split(line, comments=True) for block in whole for line in block.splitlines()]
    assert {words[1] for words in lines} >= {"serve", "generate", "bench", "-m", "tune", "ablate"}
    for program, verb, *words in lines:
        if program == "make":
            assert f"\n{verb}:" in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
            continue
        if program == "python":
            if words[0] == "jobs.bench":
                assert bench.chosen(tyro.cli(bench.Words, args=words[1:]).only)
            else:
                assert words[0] == "jobs.compare" and tyro.cli(compare.Words, args=words[1:]).students
            continue
        assert program == "naruto-add"
        if verb == "serve":
            asked_for = serve.parse(words).settings
            assert asked_for.bundle in ("runs/demo/bundle", "s3://my-bucket/runs/demo/bundle", None)
            assert asked_for.bundle or asked_for.teacher == "mini", "nothing but what ships"
        elif verb == "generate":
            asked = tyro.cli(generate.Words, args=words)
            assert asked.url or asked.bundle == "s3://my-bucket/runs/demo/bundle"
        else:
            mini = [word.replace("runs/demo/sweep/best.yaml", "mini") for word in words]
            here = [re.sub("^runs/demo", str(tmp_path), word) for word in mini]
            assert parse_words(verb, here, OWN_WORDS.get(verb, StageWords)).recipe.name == "mini"

"""The cluster files are valid for the locked Ray, for KubeRay and for EC2, and name what is there: jobs and recipes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import botocore.session
import pytest
import ray
import yaml
from botocore.validate import ParamValidator
from jsonschema import Draft7Validator, ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.arguments import parse
from jobs.entry import VERBS
from naruto_add import recipe as recipes
from naruto_add.on_ray.capacity import shortage
from tests.conftest import REPOSITORY

CLUSTER = REPOSITORY / "cluster"
UP = ("local.yaml", "aws.yaml")
KUBERAY = ("kuberay-cluster.yaml", "kuberay-job.yaml", "serve-kuberay.yaml")
CRDS = json.loads((REPOSITORY / "tests" / "data" / "kuberay-crds.json").read_text(encoding="utf-8"))


def documents(name: str) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all((CLUSTER / name).read_text(encoding="utf-8")))


def kind_of(name: str, kind: str) -> dict[str, Any]:
    """The document of a kind."""
    (found,) = (each for each in documents(name) if each["kind"] == kind)
    return found


def test_every_cluster_file_is_looked_at() -> None:
    elsewhere = {"serve.yaml"}  # tests/docs/test_serve_configs.py
    assert {path.name for path in CLUSTER.glob("*.yaml")} == {*UP, *KUBERAY, *elsewhere}


# ---- `ray up`


@pytest.mark.parametrize("name", UP)
def test_ray_up_takes_it(name: str) -> None:
    (config,) = documents(name)
    validate_config(prepare_config(deepcopy(config)))  # by ray/autoscaler/ray-schema.json
    for wrong in ({"max_workrs": 2}, {"idle_timeout_minutes": "ten"}, {"auth": {"ssh_usr": "x"}}):
        with pytest.raises(ValidationError):
            validate_config(prepare_config(deepcopy(config | wrong)))


@pytest.mark.parametrize("name", UP)
def test_nobody_gets_in_without_the_token_and_no_statistics_get_out(name: str) -> None:
    (config,) = documents(name)
    starts = [line for key in ("head", "worker") for line in config[f"{key}_start_ray_commands"] if "ray start" in line]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line and "--disable-usage-stats" in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0] and "--autoscaling-config" in starts[0]
    assert any(path.endswith("/.ray/auth_token") for path in config["file_mounts"])


def test_local_yaml_uses_all_its_machines() -> None:
    (config,) = documents("local.yaml")
    assert prepare_config(deepcopy(config))["max_workers"] == len(config["provider"]["worker_ips"])


def test_ec2_takes_the_machines_of_aws_yaml() -> None:
    (config,) = documents("aws.yaml")
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for kind in config["available_node_types"].values():
        asked = kind["node_config"] | {"MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(asked, shape)
        assert not report.has_errors(), report.generate_report()
        assert set(asked) <= set(shape.members), "boto sends what it does not know as it is"
    rules = config["provider"]["security_group"]["IpPermissions"]
    assert [rule["FromPort"] for rule in rules] == [22] and "0.0.0.0/0" not in str(rules)


def test_aws_workers_are_spot_come_on_demand_and_hold_the_recipe_they_are_for() -> None:
    (config,) = documents("aws.yaml")
    kinds = dict(config["available_node_types"])
    head = kinds.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0} and "InstanceMarketOptions" not in head["node_config"]
    for kind in kinds.values():
        assert kind["min_workers"] == 0 < kind["max_workers"]
        assert kind["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    for name in ("sd15", "sd21"):
        assert (
            shortage(
                [head["resources"], *[kinds["gpu"]["resources"]] * kinds["gpu"]["max_workers"]],
                recipes.load(name).compute,
            )
            == []
        )
    assert kinds["cpu"]["max_workers"] + kinds["gpu"]["max_workers"] >= config["max_workers"] >= 2


# ---- KubeRay


def strict(schema: Any) -> Any:
    """The schema as `kubectl --validate=strict` reads it: unknown fields are mistakes."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {key: strict(value) for key, value in schema.items() if key != "format"}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def complaints(document: dict[str, Any]) -> list[str]:
    """What Kubernetes would refuse in a custom resource of KubeRay's."""
    schema = strict(CRDS["kinds"][document["kind"]]) | {"definitions": strict(CRDS["definitions"])}
    return [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(document)]


def of_kuberay(name: str) -> Iterator[dict[str, Any]]:
    """The file's custom resources."""
    yield from (each for each in documents(name) if each["apiVersion"] == "ray.io/v1")


@pytest.mark.parametrize("name", KUBERAY)
def test_kubernetes_takes_it(name: str) -> None:
    found = list(of_kuberay(name))
    assert found
    for document in found:
        assert complaints(document) == []


def test_the_schema_tells_mistakes() -> None:
    job = kind_of("kuberay-job.yaml", "RayJob")
    for path, wrong in (("backofLimit", 2), ("backoffLimit", "two"), ("submissionMode", 3), ("entrypoint", ["a"])):
        assert complaints(job | {"spec": job["spec"] | {path: wrong}}), path
    container = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["resources"]["limit"] = {}
    assert any("limit" in each for each in complaints(job))


def clusters(document: dict[str, Any]) -> dict[str, Any]:
    """The cluster that a custom resource holds or is."""
    spec = document["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_are_nobody_s_root_and_of_the_locked_ray(name: str) -> None:
    for document in of_kuberay(name):
        cluster = clusters(document)
        assert cluster["rayVersion"] == ray.__version__
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        for pod in (group["template"]["spec"] for group in groups):
            assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
            (container,) = pod["containers"]
            assert re.fullmatch(r"\S+:\d[\w.-]*", container["image"]), "an exact tag"
            limits, requests = container["resources"]["limits"], container["resources"]["requests"]
            assert limits["memory"] == requests["memory"]
            names = {volume["name"] for volume in pod["volumes"]}
            assert {mount["name"] for mount in container["volumeMounts"]} <= names
        env = {each["name"]: each for each in groups[0]["template"]["spec"]["containers"][0].get("env", [])}
        assert cluster.get("authOptions") == {"mode": "token"} or env["RAY_AUTH_MODE"]["value"] == "token"
        assert groups[0]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize(("name", "fit"), [("kuberay-cluster.yaml", ("sd15", "sd21")), ("kuberay-job.yaml", ("sd15",))])
def test_kuberay_s_gpu_workers_hold_the_recipes_they_are_for(name: str, fit: tuple[str, ...]) -> None:
    (document,) = of_kuberay(name)
    (group,) = (each for each in clusters(document)["workerGroupSpecs"] if each["groupName"] == "gpu")
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    node = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
    for recipe in fit:
        assert shortage([{"CPU": 0}, *[node] * group["maxReplicas"]], recipes.load(recipe).compute) == []


def test_the_rayjob_s_entrypoint_is_a_job_with_a_recipe() -> None:
    spec = kind_of("kuberay-job.yaml", "RayJob")["spec"]
    python, module_flag, module, *words = shlex.split(spec["entrypoint"])
    assert (python, module_flag) == ("python", "-m")
    verb = next(name for name, entry in VERBS.items() if entry.module == module)
    arguments = parse(verb, words)
    assert arguments.run.is_absolute() and arguments.recipe.compute.address == "auto"
    mounts = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert any(arguments.run.is_relative_to(mount["mountPath"]) for mount in mounts)
    assert spec["shutdownAfterJobFinishes"] and spec["activeDeadlineSeconds"] > 0

"""Trim KubeRay's CustomResourceDefinitions for the tests: python tests/data/trim_crds.py FOLDER VERSION_OR_SOURCE

Keeps the schemas of version v1, and writes what occurs more than once (the pod template does, a dozen times) once, as a
definition that `$ref`s name. KubeRay's files are Apache-2.0, github.com/ray-project/kuberay,
helm-chart/kuberay-operator/crds.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

OUT = Path(__file__).with_name("kuberay-crds.json")
WORTH_SHARING = 200
"""Characters of a schema that is worth a definition."""


def text_of(schema: Any) -> str:
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def count(schema: Any, seen: Counter[str]) -> None:
    """How often each schema occurs."""
    if isinstance(schema, dict):
        seen[text_of(schema)] += 1
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        count(inner, seen)


def share(schema: Any, seen: Counter[str], names: dict[str, str], definitions: dict[str, Any]) -> Any:
    """The schema with references in place of what occurs more than once."""
    if isinstance(schema, list):
        return [share(inner, seen, names, definitions) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    text = text_of(schema)
    shared = seen[text] > 1 and len(text) > WORTH_SHARING and "type" in schema
    if shared and text in names:
        return {"$ref": f"#/definitions/{names[text]}"}
    inner = {key: share(value, seen, names, definitions) for key, value in schema.items()}
    if not shared:
        return inner
    names[text] = str(len(names))
    definitions[names[text]] = inner
    return {"$ref": f"#/definitions/{names[text]}"}


def main(folder: Path, source: str) -> None:
    """Read the definitions in `folder`, write kuberay-crds.json."""
    kinds = {}
    for path in sorted(folder.glob("*.yaml")):
        crd = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        (version,) = (v for v in crd["spec"]["versions"] if v["name"] == "v1")
        kinds[crd["spec"]["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    seen: Counter[str] = Counter()
    count(list(kinds.values()), seen)
    definitions: dict[str, Any] = {}
    names: dict[str, str] = {}
    trimmed = {kind: share(schema, seen, names, definitions) for kind, schema in kinds.items()}
    OUT.write_text(
        json.dumps({"source": source, "license": "Apache-2.0", "kinds": trimmed, "definitions": definitions}) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

from __future__ import annotations

import json
import re

from prometheus_client.parser import text_string_to_metric_families

from serve.metrics import Metrics, merged
from tests.conftest import REPOSITORY


def busy(replica: str, pictures: int) -> Metrics:
    metrics = Metrics(replica)
    for _ in range(pictures):
        metrics.on_drawn("student", 0.1, 0.2)
        metrics.on_pass("student", pictures, 0.05)
    return metrics


def test_the_metrics_of_all_copies_stand_in_one_answer() -> None:
    text = merged({name: busy(name, count).text() for name, count in (("a", 1), ("b", 3))}).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    drawn = {s.labels["replica"]: s.value for s in families["naruto_add_images"].samples if s.name.endswith("_total")}
    assert drawn == {"a": 1, "b": 3}
    assert families["naruto_add_phase_seconds"].type == "histogram"
    assert text.count("# TYPE naruto_add_images_total counter") == 1


def test_the_dashboard_shows_metrics_that_exist() -> None:
    dashboard = json.loads((REPOSITORY / "cluster" / "serve-dashboard.json").read_text(encoding="utf-8"))
    metrics = Metrics()
    known = {name for family in metrics.registry.collect() for name in named(family.name, family.type)}
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"naruto_add_\w+", target["expr"])
    }
    assert len(asked) >= 10 and asked <= known, asked - known


def named(family: str, kind: str) -> list[str]:
    """The samples of a family."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    return [family + ending for ending in endings.get(kind, ("",))]

"""Prometheus metrics of each copy and of all together; `cluster/serve-dashboard.json` shows these names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30)
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
PREFIX = "naruto_add"


class Metrics:
    """Counters, gauges and histograms; an `Observer` of the engine."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, replica: str = "0") -> None:
        self.replica = replica
        self.registry = CollectorRegistry()
        ProcessCollector(namespace=PREFIX, registry=self.registry)  # memory, descriptors, CPU seconds
        self.requests = self._counter("requests", "Answers.", "path", "status")
        self.rejections = self._counter("rejections", "Refused before any work was done.", "reason")
        self.images = self._counter("images", "Pictures drawn.", "model")
        self.cached = self._counter("cache_hits", "Pictures that were remembered.", "model")
        self.latency = self._histogram("request_seconds", "From request to last byte.", SECONDS, "path")
        self.phase = self._histogram(
            "phase_seconds", "Of a picture: wait (for a place), draw (all passes), encode.", SECONDS, "phase"
        )
        self.passes = self._histogram("pass_seconds", "One UNet pass of a batch.", SECONDS, "model")
        self.batch = self._histogram("batch_pictures", "Pictures in a UNet pass.", BATCHES, "model")
        self.waiting = Gauge("queue_pictures", "Pictures without a place.", namespace=PREFIX, registry=self.registry)
        self.drawing = Gauge("drawing_pictures", "Pictures in work.", namespace=PREFIX, registry=self.registry)
        self.ready = Gauge("ready", "1 once a picture has been drawn.", namespace=PREFIX, registry=self.registry)

    def on_pass(self, model: str, pictures: int, seconds: float) -> None:
        """See `serve.engine.Observer`."""
        self.batch.labels(model).observe(pictures)
        self.passes.labels(model).observe(seconds)

    def on_drawn(self, model: str, waited_s: float, drawn_s: float) -> None:
        """See `serve.engine.Observer`."""
        self.images.labels(model).inc()
        self.phase.labels("wait").observe(waited_s)
        self.phase.labels("draw").observe(drawn_s)

    def text(self) -> str:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry).decode()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace=PREFIX, registry=self.registry, buckets=buckets)


class Several:
    """The metrics of several copies as one collector."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts

    def collect(self) -> Iterable[Metric]:
        """Each family once, with the copy's name as a label of every sample."""
        families: dict[str, Metric] = {}
        for replica, text in self.texts.items():
            for family in text_string_to_metric_families(text):
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                whole.samples += [s._replace(labels={**s.labels, "replica": replica}) for s in family.samples]
        return families.values()


def merged(texts: Mapping[str, str]) -> bytes:
    """The metrics of copies, by name of the copy, as one text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Several(texts))
    return generate_latest(registry)

"""Counts and times for Prometheus."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mistralrs.runner import Runner

GAUGES = {  # field of Occupancy: name, help
    "running": ("sequences_running", "Continuations that the engine works on"),
    "waiting": ("sequences_waiting", "Continuations that wait for a place or for cache pages"),
    "held": ("cache_pages_held", "Cache pages in use by running continuations"),
    "pages": ("cache_pages", "Cache pages"),
}


class Engines(Collector):
    """What the engines are busy with when somebody asks."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return one gauge for each field, by model."""
        ids = [id for id, _ in self.runner.list_models_with_status()]
        found = {id: self.runner.occupancy(id) for id in ids}
        for field, (name, help) in GAUGES.items():
            gauge = GaugeMetricFamily(name, help, labels=["model"])
            for id, occupancy in found.items():
                if occupancy is not None:
                    gauge.add_metric([id], getattr(occupancy, field))
            yield gauge


class Metrics:
    """What /metrics shows."""

    def __init__(self, runner: Runner) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Engines(runner))
        labels = ["method", "path", "status"]
        self.requests = Counter(
            "http_requests", "Answered requests", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds", "From the request to the end of its answer", ["path"],
            registry=self.registry,
        )  # fmt: skip
        self.active = Gauge("http_requests_in_flight", "Requests in flight", registry=self.registry)
        self.first = Histogram(
            "time_to_first_token_seconds", "Of streamed chats", registry=self.registry
        )
        self.tokens = Counter(
            "tokens", "Tokens of finished requests", ["kind"], registry=self.registry
        )

"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Metrics:
    """A registry of its own, so that several servers in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("umekomi_requests", "Answered requests", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "umekomi_request_seconds",
            "Seconds from a request's first byte to its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.rejected = Counter(
            "umekomi_rejected", "Requests refused because the queue was full", ["model"], registry=self.registry
        )
        self.texts = Counter("umekomi_texts", "Texts embedded", ["model"], registry=self.registry)
        self.tokens = Counter("umekomi_tokens", "Tokens embedded", ["model"], registry=self.registry)
        self.truncated = Counter("umekomi_truncated_texts", "Texts that were cut", ["model"], registry=self.registry)
        self.batch_texts = Histogram(
            "umekomi_batch_texts", "Texts of a batch", ["model"], buckets=SIZES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "umekomi_batch_seconds", "Seconds a batch takes", ["model"], buckets=SECONDS, registry=self.registry
        )
        self._gauges: list[Gauge] = []

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A gauge that is read when Prometheus asks."""
        gauge = Gauge(name, what, registry=self.registry)
        gauge.set_function(value)
        self._gauges.append(gauge)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)

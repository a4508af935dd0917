"""Counters and histograms for Prometheus."""

from __future__ import annotations

from functools import cache
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from rstore.domain.observer import Handled, LogCall, Observer

_CALL: Final = ("system", "namespace", "operation", "kind")
_HANDLED: Final = ("sort", "namespace", "name")
_BUCKETS: Final = (1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 30.0)
"""Seconds: a call takes microseconds in memory, and a batch seconds."""


class PrometheusObserver(Observer):
    """Counts the calls of the log, the batches of projections, and the attempts of deliveries.

    Metrics of calls have the labels ``system``, ``namespace``, ``operation`` and ``kind``; those of projections and
    deliveries ``sort``, ``namespace`` and ``name``. One observer serves any number of stores.

    Needs prometheus-client: ``pip install 'rlib-store[prometheus]'``.

    >>> from rstore.observing.prometheus import CollectorRegistry, PrometheusObserver
    >>> registry = CollectorRegistry()
    >>> with Store('memory://', frozen=False, observer=PrometheusObserver(registry)) as store:
    ...     store['price'] = 10
    >>> labels = {'system': 'memory', 'namespace': 'default', 'operation': 'append', 'kind': 'kv'}
    >>> registry.get_sample_value('rstore_records_total', labels)
    1.0
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Take the registry of the program.

        Raises:
            ValueError: it has an observer of this class already.
        """
        self._calls = Histogram(
            "rstore_call_seconds", "Duration of calls of the log.", _CALL, buckets=_BUCKETS, registry=registry
        )
        self._records = Counter("rstore_records", "Records read, appended, or taken away.", _CALL, registry=registry)
        self._bytes = Counter("rstore_bytes", "Bytes of these records.", _CALL, registry=registry)
        self._errors = Counter(
            "rstore_call_errors", "Calls of the log that failed.", (*_CALL, "error"), registry=registry
        )
        metrics = (self._calls, self._records, self._bytes)
        # prometheus_client looks a child up under a lock, which takes as long as all the rest
        self._of_call = cache(lambda *labels: tuple(metric.labels(*labels) for metric in metrics))
        self._handled = Histogram(
            "rstore_handled_seconds",
            "Duration of batches of projections, and of attempts of deliveries.",
            _HANDLED,
            buckets=_BUCKETS,
            registry=registry,
        )
        self._changes = Counter("rstore_changes", "Changes that were dealt with.", _HANDLED, registry=registry)
        self._failures = Counter(
            "rstore_handled_errors", "Batches and attempts that failed.", (*_HANDLED, "error"), registry=registry
        )
        self._parked = Counter("rstore_parked", "Messages that were parked.", _HANDLED, registry=registry)
        self._lag = Gauge(
            "rstore_lag_seconds", "Age of the last change that was dealt with.", _HANDLED, registry=registry
        )

    def called(self, call: LogCall) -> None:
        """Count a call of the log."""
        labels = (call.system, call.namespace, call.operation, call.kind)
        seconds, records, size = self._of_call(*labels)
        seconds.observe(call.seconds)
        records.inc(call.records)
        size.inc(call.bytes)
        if call.error:
            self._errors.labels(*labels, call.error).inc()

    def handled(self, handled: Handled) -> None:
        """Count a batch of a projection, or an attempt of a delivery."""
        labels = (handled.sort, handled.namespace, handled.name)
        self._handled.labels(*labels).observe(handled.seconds)
        self._lag.labels(*labels).set(handled.lag)
        if handled.error:
            self._failures.labels(*labels, handled.error).inc()
        else:
            self._changes.labels(*labels).inc(handled.changes)
        if handled.parked:
            self._parked.labels(*labels).inc()

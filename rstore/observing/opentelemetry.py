"""Spans and durations for OpenTelemetry, by its semantic conventions for databases."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider, format_trace_id, get_current_span, get_tracer

from rstore.domain.observer import Handled, LogCall, Observer

_NAME: Final = "rstore"
_SPANS: Final = {"projection": ("project", SpanKind.INTERNAL), "delivery": ("deliver", SpanKind.CONSUMER)}


class OpenTelemetryObserver(Observer):
    """Makes a span of each call of the log, each batch of a projection, and each attempt of a delivery.

    A span of a call is a child of the span in which the program called the store. Its duration is a value of the
    histogram ``db.client.operation.duration`` as well. A change that is stored inside of a span has the
    id of the trace in its note, as the word ``trace_id``: ``history(key)[-1].more`` shows it.

    Needs opentelemetry-api: ``pip install 'rlib-store[otel]'``. Without an SDK, the calls of the API do nothing.

    >>> from rstore.observing.opentelemetry import OpenTelemetryObserver
    >>> store = Store('memory://', frozen=False, observer=OpenTelemetryObserver())
    """

    def __init__(self, tracers: TracerProvider | None = None, meters: MeterProvider | None = None) -> None:
        """Take the providers; by default those that the program has set for all."""
        self._tracer = get_tracer(_NAME, tracer_provider=tracers)
        self._duration = get_meter(_NAME, meter_provider=meters).create_histogram(
            "db.client.operation.duration", "s", "Duration of calls of the log."
        )

    def called(self, call: LogCall) -> None:
        """Make a span of a call of the log."""
        attributes = {
            "db.system.name": call.system,
            "db.namespace": call.namespace,
            "db.operation.name": call.operation,
            **({"db.collection.name": call.kind} if call.kind else {}),
            **({"error.type": call.error} if call.error else {}),
        }
        self._duration.record(call.seconds, attributes)
        sizes = {
            "db.response.returned_rows": call.records,
            "rstore.streams": call.streams,
            "rstore.bytes": call.bytes,
        }
        self._span(f"{call.operation} {call.kind}".rstrip(), SpanKind.CLIENT, call, {**attributes, **sizes})

    def handled(self, handled: Handled) -> None:
        """Make a span of a batch of a projection, or of an attempt of a delivery."""
        name, kind = _SPANS[handled.sort]
        attributes = {
            "db.namespace": handled.namespace,
            "rstore.name": handled.name,
            "rstore.changes": handled.changes,
            "rstore.attempt": handled.attempt,
            "rstore.lag": handled.lag,
            "rstore.parked": handled.parked,
            **({"error.type": handled.error} if handled.error else {}),
        }
        self._span(f"{name} {handled.name}", kind, handled, attributes)

    def words(self) -> Mapping[str, Any]:
        """Return the id of the trace, if there is one."""
        context = get_current_span().get_span_context()
        return {"trace_id": format_trace_id(context.trace_id)} if context.is_valid else {}

    def _span(self, name: str, kind: SpanKind, report: LogCall | Handled, attributes: Mapping[str, Any]) -> None:
        # The span is made at its end. Rejected: a hook before each call, with an answer for the hook after it. An
        # iterator may end in another thread than it began.
        end = time.time_ns()  # not now(), which has milliseconds
        span = self._tracer.start_span(
            name, kind=kind, attributes=attributes, start_time=end - round(report.seconds * 1e9)
        )
        if report.error:
            span.set_status(StatusCode.ERROR)
        span.end(end)

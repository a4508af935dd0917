"""Observers: what a store tells them, and that it tells no keys and no values."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import pytest
from attrs import Factory, define
from freezegun import freeze_time
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry, generate_latest

from rstore import (
    Change,
    FrozenStoreError,
    Handled,
    LogCall,
    Observer,
    Store,
    StoreConflictError,
    StoreNotAvailableError,
)
from rstore.core import core_of
from rstore.domain.capabilities import Backupable, PagedAppendable, Restorable
from rstore.domain.log import UNPLACED, Adapter, Batch, Entry, Head, Record, Replay, ReplayQuery
from rstore.domain.streams import Stream
from rstore.observing.observed import Observed
from rstore.observing.opentelemetry import OpenTelemetryObserver
from rstore.observing.prometheus import PrometheusObserver
from rstore.observing.reporter import Reporter
from rstore.transfer import copy
from tests.conftest import KEY, Backend, in_turn

SYSTEMS = {"cluster": "redis"}
SECRET = "recognisable"


@define
class Recorder(Observer):
    """Keeps what it is told."""

    calls: list[LogCall] = Factory(list)
    dealt: list[Handled] = Factory(list)
    beside: dict[str, Any] = Factory(dict)

    def called(self, call: LogCall) -> None:
        self.calls.append(call)

    def handled(self, handled: Handled) -> None:
        self.dealt.append(handled)

    def words(self) -> Mapping[str, Any]:
        return self.beside

    def of(self, operation: str) -> list[LogCall]:
        """Return the calls of an operation, and forget all."""
        found = [call for call in self.calls if call.operation == operation]
        self.calls.clear()
        return found


class Raising(Observer):
    """Fails whatever it is told."""

    def called(self, call: LogCall) -> None:
        raise LookupError(call.operation)

    def handled(self, handled: Handled) -> None:
        raise LookupError(handled.name)

    def words(self) -> Mapping[str, Any]:
        raise LookupError


@pytest.fixture
def told() -> Recorder:
    return Recorder()


@pytest.fixture
def seen(backend: Backend, told: Recorder) -> Store:
    """A store that tells ``told`` of all calls that come after its first write."""
    store = backend.store(namespace="seen", observer=told)
    store["first"] = 0
    told.calls.clear()
    return store


def sizes(calls: list[LogCall]) -> list[tuple[str, int, int]]:
    return [(call.kind, call.streams, call.records) for call in calls]


class TestCalls:
    def test_a_write_and_a_read_are_told_with_their_sizes(self, backend: Backend, seen: Store, told: Recorder) -> None:
        seen["k"] = "value"
        (call,) = told.of("append")
        assert call[:6] == ("append", SYSTEMS.get(backend.name, backend.name), "seen", "kv", 1, 1)
        assert call.bytes > len("value")
        assert 0 < call.seconds < 60
        assert call.error is None
        assert seen["k"] == "value"
        (read,) = told.of("last")
        assert read[3:7] == ("kv", 1, 1, call.bytes)

    def test_each_operation_is_told(self, seen: Store, told: Recorder) -> None:
        seen.extend("s", (1, 2.0), (2, 3.0))
        assert sizes(told.of("append")) == [("ts", 1, 1)]
        assert len(seen.range("s")) == 2
        assert sizes(told.of("read")) == [("ts", 1, 1)]
        seen.apply("e", {"a": 1, "b": 2})
        assert sizes(told.of("append")) == [("es", 1, 2)]
        core_of(seen).cache.clear()
        seen.current("e")
        assert sizes(told.of("replay")) == [("es", 1, 2)]
        assert seen.get_many(["first", "none"]) == {"first": 0}
        assert sum(call.records for call in told.of("last")) == 1
        assert list(seen.keys()) == ["first"]
        assert sizes(told.of("heads")) == [("kv", 1, 0)]
        assert len(seen) == 1
        assert sizes(told.of("count")) == [("", 0, 0)]  # of keys, and of the mark that some have an end
        assert len(list(seen.follow())) == 4
        assert sizes(told.of("follow")) == [("", 0, 4)]
        seen["first"] = 1
        told.calls.clear()
        reclaimed = seen.compact()
        calls = told.of("rewrite")
        assert (1, sum(call.bytes for call in calls)) == reclaimed
        assert sum(call.records for call in calls) == 1

    def test_entries_that_are_made_while_they_are_stored_count(
        self, seen: Store, told: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rstore.models.spool._MEMORY_BYTES", 1)
        seen.extend("s", ((n, n) for n in range(20_000)))
        (call,) = told.of("append")
        assert call.records > 1
        assert call.bytes > 20_000
        seen.set_many((f"k{n}", n) for n in range(3_000))
        assert sum(call.records for call in told.of("append")) == 3_000

    def test_an_error_is_told_by_its_class_and_raised(self, backend: Backend, seen: Store, told: Recorder) -> None:
        with pytest.raises(StoreConflictError):
            seen.set("first", 2, expect=7)
        (call,) = told.of("append")
        assert (call.error, call.records, call.bytes) == ("StoreConflictError", 0, 0)
        store = backend.store(namespace="none", observer=told, frozen=False)
        store.discard()
        told.calls.clear()
        with pytest.raises(StoreNotAvailableError):
            Store(backend.connect, "none", observer=told).open()
        assert [call.error for call in told.of("open")] == ["StoreNotAvailableError"]

    def test_a_frozen_store_is_observed(self, backend: Backend, seen: Store, told: Recorder) -> None:
        frozen = backend.store(namespace="seen", observer=told, frozen=True)
        told.calls.clear()
        assert frozen["first"] == 0
        assert sizes(told.of("last")) == [("kv", 1, 1)]
        with pytest.raises(FrozenStoreError):
            frozen["k"] = 1
        assert told.calls == []

    def test_views_and_transactions_are_observed(self, seen: Store, told: Recorder) -> None:
        assert seen.at(seen.history("first")[0].recorded)["first"] == 0
        assert [call.kind for call in told.of("last")] == ["kv"]
        with seen.transaction():
            seen["a"] = seen["b"] = 1
            assert told.of("append") == []
        assert sizes(told.of("append")) == [("kv", 2, 2)]


class TestIterators:
    def test_one_is_told_when_it_ends_without_the_time_of_the_caller(self, seen: Store, told: Recorder) -> None:
        found = seen.follow()
        assert next(found)[1].key == "first"
        told.calls.clear()
        time.sleep(0.2)
        assert list(found) == []
        (call,) = told.of("follow")
        assert call.records == 1
        assert 0 < call.seconds < 0.2

    def test_one_that_is_left_early_is_told_as_far_as_it_came(self, seen: Store, told: Recorder) -> None:
        seen.extend("s", (1, 1))
        seen.extend("s", (2, 2))
        found = core_of(seen).base.follow()
        next(found)
        found.close()  # type: ignore[attr-defined]
        assert told.of("follow") == []  # an observer may be at work, where a garbage collection closes the iterator
        seen["k"] = 1  # no transaction of the iterator is left open
        assert told.calls[0].operation == "follow", "it is told before the call that came later"
        assert [(call.records, call.error) for call in told.of("follow")] == [(1, None)]

    def test_an_error_in_one_is_told(self, told: Recorder) -> None:
        seen = Store("memory://", frozen=False, observer=told)
        with seen:
            seen["a"] = seen["b"] = 1
            found = core_of(seen).base.heads("kv")
            next(found)
        with pytest.raises(Exception, match="not open"):
            list(found)
        assert [call.error for call in told.of("heads")] == ["StoreClosedError"]


class TestSecrets:
    def use(self, store: Store) -> None:
        """Use keys, items, values, tokens, words and tags that would be recognised."""
        store.set(SECRET, SECRET, once=SECRET)
        store.set(SECRET, SECRET, once=SECRET)
        with store.context(who=SECRET, why=SECRET, did=SECRET):
            store.apply(SECRET, {SECRET: SECRET})
        store.extend(SECRET, (1, SECRET))
        store.tag(SECRET)
        store.range(SECRET)
        store.current(SECRET)
        list(store.find(SECRET + "*"))
        store.deliver("mail", lambda delivery: fail(delivery.key), prefix=SECRET, attempts=1)
        store.project("p", lambda change, _: fail(change.key), prefix=SECRET, on_error="skip")
        store.prune(SECRET)
        store.compact()
        with pytest.raises(StoreConflictError):
            store.set(SECRET, 1, expect=99)

    def test_no_key_item_or_value_is_told(self, backend: Backend, told: Recorder) -> None:
        self.use(backend.store(key=KEY, observer=told))
        assert len(told.calls) > 20
        assert SECRET not in repr((told.calls, told.dealt))
        assert {call.kind for call in told.calls} >= {"kv", "es", "due"}
        assert not [call for call in told.calls if "/" in call.kind]

    def test_none_is_in_a_label_or_a_span(self, spans: InMemorySpanExporter, tracers: TracerProvider) -> None:
        registry = CollectorRegistry()
        observers = [PrometheusObserver(registry), OpenTelemetryObserver(tracers)]
        with Store("memory://", frozen=False, observer=observers) as store:
            self.use(store)
        exported = generate_latest(registry).decode() + "".join(span.to_json() for span in spans.get_finished_spans())
        assert "StoreConflictError" in exported
        assert SECRET not in exported


def fail(text: str) -> None:
    raise ConnectionError(text)


class TestHandled:
    def test_batches_of_a_projection(self, seen: Store, told: Recorder) -> None:
        with freeze_time("2026-11-01T09:00Z", tick=False) as clock:
            for n in range(150):
                seen["k"] = n
                clock.tick(1)  # or all would be one commit
            clock.tick(2)
            seen.project("p", lambda change, store: None, prefix="k")
        assert [each[:5] for each in told.dealt] == [
            ("projection", "p", "seen", 100, 1),
            ("projection", "p", "seen", 50, 1),
        ]
        assert [(each.lag, each.error, each.parked) for each in told.dealt] == [(53.0, None, False), (3.0, None, False)]

    def test_a_batch_that_fails(self, seen: Store, told: Recorder) -> None:
        with pytest.raises(ConnectionError):
            seen.project("p", lambda change, store: fail("no route"))
        assert [(each.changes, each.error, each.parked) for each in told.dealt] == [(1, "ConnectionError", False)]

    def test_attempts_of_a_delivery(self, seen: Store, told: Recorder) -> None:
        seen.deliver("mail", lambda delivery: fail("no route"), attempts=2, backoff=0, wait=0.5)
        seen.retry("mail")
        seen.deliver("mail", lambda delivery: None)
        found = [(each.sort, each.name, each.changes, each.attempt, each.error, each.parked) for each in told.dealt]
        assert found == [
            ("delivery", "mail", 1, 1, "ConnectionError", False),
            ("delivery", "mail", 1, 2, "ConnectionError", True),
            ("delivery", "mail", 1, 1, None, False),
        ]


class TestWords:
    def test_they_stand_beside_what_is_stored(self, seen: Store, told: Recorder) -> None:
        told.beside["trace"] = "t1"
        seen["k"] = 1
        with seen.context(who="ada"):
            seen.apply("e", {"n": 1})
        with seen.context(trace="mine"):
            seen.extend("s", (1, 1))
        told.beside.clear()
        seen["k"] = 2
        found = [(change.who, change.more) for _, change in seen.follow()]
        assert found == [
            (None, {}),
            (None, {"trace": "t1"}),
            ("ada", {"trace": "t1"}),
            (None, {"trace": "mine"}),
            (None, {}),
        ]

    def test_those_of_several_observers_are_all_there(self, backend: Backend) -> None:
        observers = [Recorder(beside={"a": 1}), Recorder(beside={"b": 2, "a": 3})]
        store = backend.store(observer=observers)
        store["k"] = 1
        assert store.history("k")[0].more == {"a": 1, "b": 2}

    @in_turn("words", [{"a": object()}, {"a": "x" * 20_000}, {1: 1}, "text"])
    def test_those_that_can_not_be_stored_break_no_write(self, backend: Backend, words: Any) -> None:
        store = backend.store(observer=Recorder(beside=words))
        with store.context(who="ada"):
            store["k"] = 1
        assert store.history("k")[-1].who == "ada"


class TestErrors:
    def test_an_observer_that_raises_breaks_nothing_and_is_logged_once(
        self, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = Recorder()
        with caplog.at_level(logging.ERROR, "rstore"):
            store = backend.store(observer=[Raising(), other])
            store["k"] = 1
            assert store["k"] == 1
            assert store.project("p", lambda change, _: None) == 1
            assert store.deliver("mail", lambda delivery: None) == 1
            assert [change.key for _, change in store.follow()] == ["k"]
        assert {call.operation for call in other.calls} >= {"append", "last", "follow"}
        assert [each.sort for each in other.dealt] == ["projection", "delivery"]
        assert [record.getMessage() for record in caplog.records] == [
            "the observer Raising has raised an error: further ones of it are not logged"
        ]

    @in_turn("observer", [1, object(), [object()], "text", Recorder])
    def test_what_is_no_observer_is_refused_at_once(self, observer: Any) -> None:
        with pytest.raises(TypeError, match="observer"):
            Store("memory://", observer=observer)


class TestAround:
    def test_without_an_observer_nothing_stands_around_the_adapter(self, backend: Backend, told: Recorder) -> None:
        assert not isinstance(core_of(backend.store()).base, Observed)
        assert isinstance(core_of(backend.store(observer=told)).base, Observed)

    def test_it_has_the_capabilities_of_the_adapter_and_no_others(self, backend: Backend, told: Recorder) -> None:
        plain, seen = core_of(backend.store()).base, core_of(backend.store(observer=told)).base
        for capability in (PagedAppendable, Restorable, Backupable):
            assert isinstance(plain, capability) == isinstance(seen, capability)
        assert getattr(plain, "instead_of_backup", None) == getattr(seen, "instead_of_backup", None)
        assert plain.name == seen.name

    def test_it_has_all_methods_of_the_port(self, backend: Backend, told: Recorder) -> None:
        plain, seen = core_of(backend.store()).base, core_of(backend.store(observer=told)).base
        port = [name for each in (Adapter, PagedAppendable, Restorable, Backupable) for name in dir(each)]
        public = [name for name in port if not name.startswith("_")]
        assert len(public) > 15
        assert [name for name in public if hasattr(seen, name)] == [name for name in public if hasattr(plain, name)]

    def test_pages_that_an_adapter_takes_twice_count_once(self, told: Recorder) -> None:
        class Retrying:
            name = "sqlite://a.db"

            def append_pages(self, pages: Iterable[Sequence[Batch]]) -> None:
                for _ in range(2):
                    assert [len(list(batch.entries)) for page in pages for batch in page] == [1, 2]

        entry = Entry(0, 0, "", "setitem", b"value", b"note")
        several = deque([entry, entry])  # neither list nor tuple
        pages = [[Batch(Stream("kv", "a"), (entry,), 0)], [Batch(Stream("kv", "b"), several, 0)]]
        Observed(cast("Any", Retrying()), "n", Reporter(told)).append_pages(pages)  # type: ignore[attr-defined]
        assert [call[3:7] for call in told.of("append")] == [("kv", 2, 3, 3 * len("valuenote"))]

    def test_a_replay_counts_its_snapshot(self, told: Recorder) -> None:
        class Answering:
            name = "sqlite://a.db"

            def replay(self, queries: Sequence[ReplayQuery]) -> list[Replay | None]:
                record = Record(1, UNPLACED, 0, 0, 0, "", "setitem", b"value")
                return [Replay(Head(queries[0].stream, 1, 0, live=True), record, [record, record]), None]

        queries = [ReplayQuery(Stream("es", key)) for key in "ab"]
        Observed(cast("Any", Answering()), "n", Reporter(told)).replay(queries)  # type: ignore[attr-defined]
        assert [call[3:7] for call in told.of("replay")] == [("es", 2, 3, 3 * len("value"))]

    def test_a_copy_into_it_works(self, backend: Backend, seen: Store, told: Recorder) -> None:
        target = backend.store(namespace="target", observer=told)
        copy(seen, target)
        assert target["first"] == 0


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracers(spans: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield provider
    provider.shutdown()


class TestOpenTelemetry:
    def test_a_span_of_each_call_with_its_parent(self, spans: InMemorySpanExporter, tracers: TracerProvider) -> None:
        with Store("memory://", "app", frozen=False, observer=OpenTelemetryObserver(tracers)) as store:
            with tracers.get_tracer("test").start_as_current_span("request") as request:
                store["k"] = 1
            with pytest.raises(StoreConflictError):
                store.set("k", 2, expect=9)
        found = {span.name: span for span in spans.get_finished_spans() if span.status.is_ok}
        append, outer = found["append kv"], found["request"]
        assert append.parent is not None
        assert append.parent.span_id == request.get_span_context().span_id
        assert append.kind is SpanKind.CLIENT
        told = dict(append.attributes or {})
        assert told.pop("rstore.bytes") > 0  # type: ignore[operator]
        assert told == {
            "db.system.name": "memory",
            "db.namespace": "app",
            "db.operation.name": "append",
            "db.collection.name": "kv",
            "db.response.returned_rows": 1,
            "rstore.streams": 1,
        }
        assert (outer.start_time or 0) <= (append.start_time or 0) < (append.end_time or 0) <= (outer.end_time or 0)
        (failed,) = [span for span in spans.get_finished_spans() if span.status.status_code is StatusCode.ERROR]
        assert (failed.attributes or {})["error.type"] == "StoreConflictError"

    def test_the_id_of_the_trace_is_in_the_commit(self, tracers: TracerProvider) -> None:
        with Store("memory://", frozen=False, observer=OpenTelemetryObserver(tracers)) as store:
            with tracers.get_tracer("test").start_as_current_span("request") as request:
                store.apply("order", {"n": 1, "m": 2})
            store["k"] = 1
            (commit,) = store.history("order", by="commit")
            assert commit.more == {"trace_id": f"{request.get_span_context().trace_id:032x}"}
            assert store.history("k")[0].more == {}

    def test_durations_and_what_is_dealt_with(self, spans: InMemorySpanExporter, tracers: TracerProvider) -> None:
        reader = InMemoryMetricReader()
        recorder, observer = Recorder(), OpenTelemetryObserver(tracers, MeterProvider([reader]))
        with Store("memory://", frozen=False, observer=[recorder, observer]) as store:
            store["k"] = 1
            store.project("p", lambda change, _: None)
            store.deliver("mail", lambda delivery: fail("no route"), attempts=1)
        names = {span.name: span for span in spans.get_finished_spans()}
        assert names["project p"].kind is SpanKind.INTERNAL
        assert names["deliver mail"].kind is SpanKind.CONSUMER
        told = names["deliver mail"].attributes or {}
        assert (told["rstore.attempt"], told["rstore.parked"], told["error.type"]) == (1, True, "ConnectionError")
        data = reader.get_metrics_data()
        assert data is not None
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("db.client.operation.duration", "s")
        seconds = sum(point.sum for point in metric.data.data_points)  # type: ignore[union-attr]
        assert seconds == pytest.approx(sum(call.seconds for call in recorder.calls))


class TestPrometheus:
    def test_calls_and_what_is_dealt_with(self) -> None:
        registry = CollectorRegistry()
        value: Callable[..., float | None] = lambda metric, **labels: registry.get_sample_value(metric, labels)  # noqa: E731
        told = Recorder()
        with Store("memory://", "app", frozen=False, observer=[told, PrometheusObserver(registry)]) as store:
            store["k"] = 1
            store["k"] = 2
            with pytest.raises(StoreConflictError):
                store.set("k", 2, expect=9)
            store.project("p", ignore)
            with pytest.raises(ConnectionError):
                store.project("q", lambda change, _: fail("no route"))
            store.deliver("mail", lambda delivery: fail("no route"), attempts=1)
        call = {"system": "memory", "namespace": "app", "operation": "append", "kind": "kv"}
        assert value("rstore_call_seconds_count", **call) == 3
        assert value("rstore_records_total", **call) == 2
        assert (value("rstore_bytes_total", **call) or 0) > 0
        assert value("rstore_call_errors_total", **call, error="StoreConflictError") == 1
        projection = {"sort": "projection", "namespace": "app", "name": "p"}
        assert value("rstore_changes_total", **projection) == 2
        assert value("rstore_handled_seconds_count", **projection) == 1
        assert value("rstore_lag_seconds", **projection) == told.dealt[0].lag
        assert value("rstore_parked_total", **projection) is None
        assert value("rstore_changes_total", **{**projection, "name": "q"}) is None, "it has failed"
        seconds = sum(each.seconds for each in told.calls if (each.operation, each.kind) == ("append", "kv"))
        assert value("rstore_call_seconds_sum", **call) == pytest.approx(seconds)
        assert value("rstore_handled_errors_total", **{**projection, "name": "q"}, error="ConnectionError") == 1
        assert value("rstore_parked_total", sort="delivery", namespace="app", name="mail") == 1


def ignore(change: Change, store: Store) -> None:
    """Deal with a change."""

"""Properties: whatever is done to a Store, it reads like a dict of what was written; and those of the pure domain.

``RSTORE_EXAMPLES=500`` in the environment makes the search longer and random, and shortens what fails (which may take
minutes).
"""

from __future__ import annotations

import operator
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from fnmatch import fnmatchcase
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from rstore import Event, Store, StoreClosedError, StoreIntegrityError, StoreNotAvailableError
from rstore.domain import event_state as projection
from rstore.domain import series
from rstore.domain.event_state import EventState, Fact, fold, obsolete
from rstore.domain.operators import DELETE
from rstore.domain.series import Layer, gaps, overlay, split, thin
from rstore.domain.spans import TIME_MAX, TIME_MIN, TOP_LEVEL, level, reach
from rstore.domain.streams import KV
from rstore.encoding.rows import joined as joined_runs

THOROUGH = "RSTORE_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("RSTORE_EXAMPLES", "12"))
SETTINGS = settings(
    deadline=None,
    derandomize=not THOROUGH,
    database=None,
    suppress_health_check=list(HealthCheck),
)
STATEFUL = settings(
    SETTINGS, max_examples=EXAMPLES, stateful_step_count=40, phases=set(Phase) if THOROUGH else {Phase.generate}
)
PURE = settings(SETTINGS, max_examples=12 * EXAMPLES)

KEYS = ("", "a", "a*", "ab", "b:%_", "é", "\uffff", "😀")
ITEMS = ("", "n", "m", "__init__")
PATTERNS = ("*", "a*", "?", "[ab]*", "[!a]", "a[*]", "*b", "", "[", "a?", "b:%_", "é*", *KEYS)
UNARY = (operator.neg, operator.abs, operator.not_, operator.invert)
BINARY = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod, operator.concat)
START = 1_709_208_000_000
MISSING = object()

keys = st.sampled_from(KEYS)
values = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.text(max_size=3),
    st.just("long " * 100),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from("xy"), st.lists(st.integers(0, 3), max_size=1), max_size=2),
)
times = st.one_of(
    st.integers(-10, 40), st.integers(-10, 40), st.sampled_from([TIME_MIN, TIME_MAX, 1 << 60, -(1 << 33)])
)
bounds = st.none() | times
points = st.lists(st.tuples(times, values), max_size=24)
changes = st.one_of(
    st.integers(-2, 2),
    values,
    st.tuples(st.just(operator.setitem), values),
    st.just((operator.delitem, None)),
    st.tuples(st.sampled_from(UNARY), st.none()),
    st.tuples(st.sampled_from(BINARY), st.integers(-2, 2)),
)
whos = st.integers(0, 1)


# -- the naive model ---------------------------------------------------------------------------------------------------


def naive_state(events: Iterable[Event]) -> dict[str, Any]:
    """Fold events; whatever an operator raises is raised."""
    state: dict[str, Any] = {}
    for _, item, op, value in events:
        if op is operator.setitem:
            state[item] = value
        elif op is operator.delitem:
            del state[item]
        elif op is DELETE:
            state.clear()
        else:
            state[item] = op(state[item]) if op in UNARY else op(state[item], value)
    return state


def naive_history(events: list[Event], state: dict[str, Any], when: int | None) -> list[Event] | None:
    """Return the events after an apply, which makes up a time if none is given; None if it has to be refused."""
    stamp = max([now(), *(event.timestamp + 1 for event in events)]) if when is None else when
    added = [as_event(stamp, item, change) for item, change in deepcopy(state).items()]
    history = sorted([*events, *added], key=operator.attrgetter("timestamp"))
    if any(event.timestamp == when and event.item in state for event in events):
        return None
    try:
        naive_state(history)
    except Exception:  # whatever an operator raises
        return None
    return history


def naive_deletion(events: list[Event], when: int | None) -> list[Event] | None:
    """Return the events after the deletion of a sequence, which may change nothing; None if it has to be refused."""
    stamp = max([now(), *(event.timestamp + 1 for event in events)]) if when is None else when
    before = [event for event in events if event.timestamp <= stamp]
    is_late = bool(events) and stamp < events[-1].timestamp
    if is_deleted(events) or is_deleted(before) or (is_late and not before):
        return events
    state = naive_state(before)
    if any(event.timestamp == when and event.item in state for event in events):
        return None
    ending = [*(Event(stamp, item, operator.delitem, None) for item in state), Event(stamp, None, DELETE, None)]  # type: ignore[arg-type]
    history = [*before, *ending, *events[len(before) :]]
    try:
        naive_state(history)
    except Exception:  # whatever an operator raises
        return None
    return history


def is_deleted(events: list[Event]) -> bool:
    return bool(events) and events[-1].op is DELETE


def shown(events: list[Event]) -> list[Event]:
    return [event for event in events if event.op is not DELETE]


def naive_kept(events: list[Event]) -> list[Event]:
    """Return what a prune keeps: for each item what came since its last setitem, nothing if it was deleted after."""
    kept = []
    for i, event in enumerate(events):
        later = {other.op for other in events[i + 1 :] if other.item == event.item or other.op is DELETE}
        if event.op not in (operator.delitem, DELETE) and not later & {operator.setitem, operator.delitem, DELETE}:
            kept.append(event)
    return kept


def naive_thin(found: list[tuple[int, Any]], freq: int) -> list[tuple[int, Any]]:
    kept: list[tuple[int, Any]] = []
    for point in found:
        if not kept or point[0] - kept[-1][0] >= freq:
            kept.append(point)
    return kept


def as_event(timestamp: int, item: str, change: Any) -> Event:
    op, value = change if isinstance(change, tuple) else (operator.setitem, change)
    return Event(timestamp, item, op, value)


def now() -> int:
    return time.time_ns() // 1_000_000


class Clock:
    """Stands still until it is moved. Not freezegun: that would stop the clock of hypothesis as well."""

    ms = START

    def time_ns(self) -> int:
        return self.ms * 1_000_000


class StoreMachine(RuleBasedStateMachine):
    """Two Stores on the same data, either of which does the next step, against plain dicts."""

    connect: Any
    key: str | None
    history: bool
    clock: Clock
    every: int
    steps = 0
    only_read = False  # whether the last step was a read: what it found is checked by itself, and it left all as it was
    _numbers = count()

    def __init__(self) -> None:
        super().__init__()
        self.clock.ms = START
        self.namespace = f"machine {next(self._numbers)}"
        self.stores = [self.store().open() for _ in range(2)]
        self.kv: dict[str, Any] = {}
        self.ts: dict[str, dict[int, Any]] = {}
        self.es: dict[str, list[Event]] = {}

    def store(self, *, frozen: bool = False) -> Store:
        return Store(self.connect, self.namespace, self.key, frozen, history=self.history)

    def teardown(self) -> None:
        self.stores[1].close()
        self.stores[0].discard()
        self.stores[0].close()

    # -- keys and values --

    @rule(who=whos, key=keys, value=values)
    def set(self, who: int, key: str, value: Any) -> None:
        self.kv[key] = deepcopy(value)
        self.stores[who][key] = value
        if isinstance(value, list):
            value.append("changed by the caller, later")

    @rule(who=whos, gone=st.lists(keys, max_size=4))
    def delete(self, who: int, gone: list[str]) -> None:
        self.stores[who].delete(*gone)
        for key in gone:
            self.kv.pop(key, None)

    @rule(who=whos, key=keys)
    def del_(self, who: int, key: str) -> None:
        if key in self.kv:
            del self.stores[who][key], self.kv[key]
            return
        with pytest.raises(KeyError):
            del self.stores[who][key]

    @rule(who=whos, key=keys)
    def pop(self, who: int, key: str) -> None:
        assert self.stores[who].pop(key, MISSING) == self.kv.pop(key, MISSING)

    @rule(who=whos)
    def popitem(self, who: int) -> None:
        if not self.kv:
            with pytest.raises(KeyError):
                self.stores[who].popitem()
            return
        key, value = self.stores[who].popitem()
        assert value == self.kv.pop(key)

    @rule(who=whos, key=keys, value=values)
    def setdefault(self, who: int, key: str, value: Any) -> None:
        assert self.stores[who].setdefault(key, value) == self.kv.setdefault(key, value)

    @rule(who=whos, pairs=st.dictionaries(keys, values, max_size=5), how=st.sampled_from(["update", "set_many", "|="]))
    def set_several(self, who: int, pairs: dict[str, Any], how: str) -> None:
        store = self.stores[who]
        if how == "|=":
            store |= pairs
            assert store is self.stores[who]
        else:
            getattr(store, how)(pairs)
        self.kv |= pairs

    @rule(who=whos)
    def clear(self, who: int) -> None:
        self.stores[who].clear()
        self.kv.clear()

    # -- series --

    @rule(who=whos, key=keys, points=points, how=st.sampled_from(["arguments", "list", "generator", "sorted"]))
    def extend(self, who: int, key: str, points: list[tuple[int, Any]], how: str) -> None:
        if how == "sorted":
            points = sorted(dict(points).items())
        given: tuple[Any, ...] = {"arguments": tuple(points), "generator": (iter(points),)}.get(how, (points,))
        self.stores[who].extend(key, *given)
        if points:
            self.ts.setdefault(key, {}).update(points)

    @rule(who=whos, key=keys, start=st.integers(-10, 30), size=st.integers(1, 12), value=values)
    def extend_regularly(self, who: int, key: str, start: int, size: int, value: Any) -> None:
        batch = [(start + i, [i, value]) for i in range(size)]
        self.stores[who].extend(key, batch)
        self.ts.setdefault(key, {}).update(batch)

    @rule(who=whos, key=keys, start=st.integers(-10, 30), size=st.integers(1, 12), is_row=st.booleans())
    def extend_with_a_frame(self, who: int, key: str, start: int, size: int, is_row: bool) -> None:
        batch = [(start + i, {"half": i / 2, "number": i} if is_row else i / 2) for i in range(size)]
        stamps, found = [t for t, _ in reversed(batch)], [value for _, value in reversed(batch)]
        typed = np.array([(i / 2, i) for i in reversed(range(size))], "f8, i8") if is_row else np.array(found)
        if is_row:
            typed.dtype.names = ("half", "number")
        self.stores[who].extend(key, (np.array(stamps), typed))
        self.ts.setdefault(key, {}).update(batch)

    @rule(who=whos, gone=st.lists(keys, max_size=3), start=bounds, end=bounds)
    def remove(self, who: int, gone: list[str], start: int | None, end: int | None) -> None:
        self.stores[who].remove(*gone, start=start, end=end)
        low, high = TIME_MIN if start is None else start, TIME_MAX if end is None else end
        for key in set(gone) & set(self.ts):
            left = {t: value for t, value in self.ts[key].items() if not low <= t <= high}
            if left:
                self.ts[key] = left
            else:
                del self.ts[key]

    @rule(who=whos, gone=st.lists(keys, max_size=3))
    def remove_all(self, who: int, gone: list[str]) -> None:
        self.stores[who].remove(*gone)
        for key in gone:
            self.ts.pop(key, None)

    # -- event sequences --

    @rule(ms=st.integers(-40, 40))
    def time_goes_by_or_back(self, ms: int) -> None:
        self.clock.ms += ms

    @rule(
        who=whos,
        key=keys,
        state=st.dictionaries(st.sampled_from(ITEMS), changes, max_size=3),
        t=st.one_of(st.none(), st.none(), st.integers(-30, 30)),
    )
    def apply(self, who: int, key: str, state: dict[str, Any], t: int | None) -> None:
        store, events = self.stores[who], self.es.get(key, [])
        if not state:
            assert store.apply(key, state) == (naive_state(events) if key in self._living() else None)
            return
        when = None if t is None else now() + t
        history = naive_history(events, state, when)
        if history is None:
            with pytest.raises(StoreIntegrityError):
                store.apply(key, state, t=when)
            return
        returned = store.apply(key, state, t=when)
        self.es[key] = history
        if is_deleted(history):
            assert returned is None
            return
        assert returned == naive_state(history)
        returned["changed by the caller"] = [returned.pop(item).clear() for item in _mutable(returned)]

    @rule(who=whos, key=keys, t=st.one_of(st.none(), st.none(), st.integers(-30, 30)))
    def delete_events(self, who: int, key: str, t: int | None) -> None:
        when = None if t is None else now() + t
        history = naive_deletion(self.es[key], when) if key in self.es else []
        if history is None:
            with pytest.raises(StoreIntegrityError):
                self.stores[who].delete_events(key, t=when)
            return
        self.stores[who].delete_events(key, t=when)
        if key in self.es:
            self.es[key] = history

    def _living(self) -> list[str]:
        return sorted(key for key, events in self.es.items() if not is_deleted(events))

    @rule(who=whos, key=keys, steps=st.integers(4, 9))
    def count_up(self, who: int, key: str, steps: int) -> None:
        for step in range(steps):
            change = (operator.add, 1) if type(naive_state(self.es.get(key, [])).get("n")) is int else step
            self.apply(who, key, {"n": change}, None)

    @rule(who=whos, pruned=st.lists(keys, max_size=4), remove=st.booleans())
    def prune(self, who: int, pruned: list[str], remove: bool) -> None:
        self.stores[who].prune(*pruned, remove=remove)
        self._prune(pruned, remove=remove)

    def _prune(self, pruned: Iterable[str], *, remove: bool) -> None:
        for key in set(pruned) & set(self.es):
            kept = naive_kept(self.es[key])
            assert naive_state(kept) == naive_state(self.es[key])
            if kept or not (remove or is_deleted(self.es[key])):
                self.es[key] = kept
            else:
                del self.es[key]

    # -- the whole store --

    @rule(who=whos)
    def compact(self, who: int) -> None:
        assert self.stores[who].compact() >= (0, -(1 << 20))
        self._prune(KEYS, remove=True)
        assert self.stores[who].compact() == (0, 0), "what is compact can't be compacted"

    @rule(who=whos)
    def discard(self, who: int) -> None:
        self.stores[who].discard()
        self._forget()

    @rule(who=whos)
    def discard_alone(self, who: int) -> None:
        self.stores[1 - who].close()
        self.stores[who].discard()
        self.stores[1 - who].open()
        self._forget()

    def _forget(self) -> None:
        self.kv, self.ts, self.es = {}, {}, {}

    @rule(who=whos)
    def reopen(self, who: int) -> None:
        self.stores[who].close()
        with pytest.raises(StoreClosedError):
            self.stores[who].get("a")
        self.stores[who].open()

    @rule(who=whos)
    def replace(self, who: int) -> None:
        self.stores[who].close()
        self.stores[who] = self.store().open()

    # -- reads --

    @rule()
    def a_frozen_store_reads_the_same(self) -> None:
        self.only_read = True
        try:
            with self.store(frozen=True) as store:
                self.check(store)
        except StoreNotAvailableError:
            assert self.kv == self.ts == self.es == {}

    @rule(
        who=whos,
        key=keys,
        start=bounds,
        end=bounds,
        n=st.none() | st.integers(0, 9),
        freq=st.none() | st.integers(1, 9),
    )
    def ask_a_series(
        self, who: int, key: str, start: int | None, end: int | None, n: int | None, freq: int | None
    ) -> None:
        self.only_read = True
        low, high = TIME_MIN if start is None else start, TIME_MAX if end is None else end
        found = [point for point in sorted(self.ts.get(key, {}).items(), key=_first) if low <= point[0] <= high]
        if freq is not None:
            found = naive_thin(found, freq)
        assert self.stores[who].range(key, start, n=n, end=end, freq=freq) == found[:n]
        assert list(self.stores[who].points(key, start, n=n, end=end, freq=freq)) == found[:n]

    @rule(who=whos, key=keys, start=st.integers(-15, 45), size=st.none() | st.integers(-3, 60), freq=st.integers(1, 9))
    def ask_for_gaps(self, who: int, key: str, start: int, size: int | None, freq: int) -> None:
        self.only_read = True
        end = None if size is None else start + size
        grid = range(start, (start if end is None else end) + 1, freq)
        absent = [t for t in grid if t not in self.ts.get(key, {})]
        assert self.stores[who].missing(key, start, end, freq) == absent
        assert self.stores[who].iscomplete(key, start, end, freq) == (not absent)

    @rule(
        who=whos,
        key=keys,
        start=st.none() | st.integers(-60, 60),
        end=st.none() | st.integers(-60, 60),
        ops=st.none()
        | st.sampled_from([operator.setitem, operator.add])
        | st.sets(st.sampled_from(BINARY), max_size=3),
        item=st.none() | st.sampled_from(ITEMS),
    )
    def ask_for_events(
        self, who: int, key: str, start: int | None, end: int | None, ops: Any, item: str | None
    ) -> None:
        self.only_read = True
        start = None if start is None else now() + start
        end = None if end is None else now() + end
        wanted = ops if isinstance(ops, set) else {ops}
        found = [
            event
            for event in shown(self.es.get(key, []))
            if (start is None or event.timestamp >= start)
            and (end is None or event.timestamp <= end)
            and (ops is None or event.op in wanted)
            and item in (None, event.item)
        ]
        assert self.stores[who].events(key, start, end, ops, item) == (found if key in self.es else None)

    @rule(who=whos, pattern=st.sampled_from(PATTERNS) | st.text("ab*?[]!", max_size=5))
    def find(self, who: int, pattern: str) -> None:
        self.only_read = True
        found = [pair for pair in sorted(self.kv.items(), key=_first) if fnmatchcase(pair[0], pattern)]
        assert self.stores[who].find(pattern) == found

    @invariant()
    def both_stores_read_like_the_model(self) -> None:
        self.steps += 1
        only_read, self.only_read = self.only_read, False
        if self.steps % self.every == 0 and not (only_read and self.every == 1):
            for store in self.stores:
                self.check(store)

    @invariant()
    def without_history_only_the_last_value_is_kept(self) -> None:
        if self.history or self.steps % self.every:
            return
        log = self.stores[0]._core.log
        kept = {head.stream.key: len(list(log.read(head.stream))) for head in log.heads(KV, live=False)}
        assert kept == dict.fromkeys(self.kv, 1)

    def check(self, store: Store) -> None:
        pairs = sorted(self.kv.items(), key=_first)
        assert store.keys() == list(store) == [key for key, _ in pairs]
        assert len(store) == len(self.kv)
        assert list(store.items()) == pairs
        assert store.get_many(KEYS) == self.kv
        assert [store.get(key, MISSING) for key in KEYS] == [self.kv.get(key, MISSING) for key in KEYS]
        assert [store.has(key) for key in KEYS] == [key in self.kv for key in KEYS]
        assert store.timeseries() == sorted(self.ts)
        for key in KEYS:
            self.check_series(store, key)
        assert store.eventsources() == self._living()
        for key in KEYS:
            self.check_sequence(store, key)

    def check_series(self, store: Store, key: str) -> None:
        found = sorted(self.ts.get(key, {}).items(), key=_first)
        assert store.range(key) == found
        assert store.first(key) == (found[0] if found else None)
        assert store.last(key) == (found[-1] if found else None)

    def check_sequence(self, store: Store, key: str) -> None:
        events = self.es.get(key)
        assert store.events(key) == (None if events is None else shown(events))
        if events is None:
            assert store.current(key) is store.past(key, now()) is None
            return
        latest = events[-1].timestamp if events else None
        assert store.current(key, withtimestamp=True) == (None if is_deleted(events) else (latest, naive_state(events)))
        asked = {event.timestamp + i for event in events for i in (-1, 0)} | {TIME_MIN, TIME_MAX}
        for t in asked if len(asked) < 9 else sorted(asked)[:: len(asked) // 4]:
            until = [event for event in events if event.timestamp <= t]
            expected = None if not until or is_deleted(until) else (until[-1].timestamp, naive_state(until))
            assert store.past(key, t, withtimestamp=True) == expected


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _mutable(state: dict[str, Any]) -> list[str]:
    return [item for item, value in state.items() if isinstance(value, list | dict)]


def shrink_constants(monkeypatch: pytest.MonkeyPatch, **constants: int) -> None:
    """Set constants wherever a module of rstore has them, so that few records make snapshots and several segments."""
    modules = [module for name, module in sys.modules.items() if name.startswith("rstore")]
    for name, value in constants.items():
        having = [module for module in modules if hasattr(module, name)]
        assert having, f"rstore has no {name} any more"
        for module in having:
            monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("history", [True, False], ids=["history", "no history"])
def test_a_store_reads_like_plain_dicts_whatever_is_done_to_it(
    backend: Any, key: str | None, history: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_constants(monkeypatch, _SNAPSHOT_EVERY=3, SEGMENT=4, _BUFFER=8, _STEP=2, _SEGMENT_BYTES=32)
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", clock.time_ns)
    # to read everything takes longer over a socket: do it after some steps, and in fewer examples
    every, examples = (1, EXAMPLES * 2 // 3) if backend.is_local else (8, EXAMPLES // 4)
    connect = staticmethod(backend.connect)
    given = {"connect": connect, "key": key, "history": history, "clock": clock, "every": every}
    # a class of its own for each run: with derandomize, its name decides which examples are tried
    machine = type(f"StoreMachine_{backend.name}_{key}_{history}", (StoreMachine,), given)
    run_state_machine_as_test(machine, settings=settings(STATEFUL, max_examples=examples))


# -- the domain: series ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_constants(monkeypatch, SEGMENT=4, _BUFFER=8)


class Loads:
    """Counts how often each layer's points are loaded."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}

    def loader(self, version: int, run: tuple[list[int], list[Any]]) -> Callable[[], tuple[list[int], list[Any]]]:
        def load() -> tuple[list[int], list[Any]]:
            self.of[version] = self.of.get(version, 0) + 1
            return run

        return load


short_times = st.integers(-12, 12) | st.sampled_from([TIME_MIN, TIME_MAX])
runs = st.sets(short_times, min_size=1, max_size=6).map(sorted)
holes = st.tuples(short_times, short_times).map(sorted).map(tuple)


@PURE
@given(written=st.lists(runs | holes, max_size=12), bounds=holes)
def test_an_overlay_shows_what_writing_one_after_the_other_leaves(written: list[Any], bounds: tuple[int, int]) -> None:
    layers, loads, expected = [], Loads(), {}
    for version, what in enumerate(written, 1):
        if isinstance(what, tuple):
            expected = {t: v for t, v in expected.items() if not what[0] <= t <= what[1]}
            layers.append(Layer(version, what[0], what[1], None))
        else:
            run = what, [f"{version}@{t}" for t in what]
            expected.update(zip(*run, strict=True))
            layers.append(Layer(version, what[0], what[-1], loads.loader(version, run)))
    low, high = bounds
    touching = sorted(
        (layer for layer in layers if layer.start <= high and layer.end >= low), key=lambda x: (x[1], x[0])
    )
    found = [(list(stamps), list(found)) for stamps, found in overlay(touching, low, high)]
    assert [point for run in found for point in zip(*run, strict=True)] == sorted(
        (t, v) for t, v in expected.items() if low <= t <= high
    )
    assert all(stamps for stamps, _ in found), "an empty run is no run"
    assert set(loads.of.values()) <= {1}, "a layer is loaded at most once"


def test_only_the_points_that_lie_over_others_are_merged() -> None:
    whole = [*range(0, 1000, 2)]
    runs = {1: whole, 2: [100], 3: [101, 300, 301], 4: [998]}
    layers = [Layer(version, run[0], run[-1], lambda run=run: (run, run)) for version, run in runs.items()]
    together: list[int] = []

    def merged(found: Any, holes: Any) -> Any:
        together.extend(time for _, (times, _) in found for time in times)
        return series.merge(found, holes)

    found = overlay(layers, merged=merged)
    assert [time for times, _ in found for time in times] == sorted({*whole, *runs[3]})
    assert len(together) == 2 + (3 + 100) + 2


@PURE
@given(hidden=st.lists(st.sets(st.integers(0, 20), min_size=1).map(sorted), min_size=1), data=st.data())
def test_an_overlay_does_not_load_what_a_later_hole_hides_from_its_start(hidden: list[Any], data: Any) -> None:
    hidden = sorted(hidden, key=lambda run: run[0])
    hole = Layer(len(hidden) + 1, data.draw(st.integers(-5, hidden[0][0])), data.draw(st.integers(20, 25)), None)

    def load() -> Any:
        raise AssertionError("loaded, though there is nothing to be seen of it")

    layers = [Layer(version, run[0], run[-1], load) for version, run in enumerate(hidden, 1)]
    in_order = sorted([hole, *layers], key=lambda layer: (layer.start, layer.version))
    assert list(overlay(in_order)) == []


@PURE
@given(given=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), max_size=9))
def test_an_overlay_of_layers_side_by_side_reads_no_further_than_it_is_asked(given: list[list[int]]) -> None:
    runs, asked = [], []
    for block, offsets in enumerate(given):
        runs.append(sorted({block * 10 + offset for offset in offsets}))

    def layers() -> Iterator[Layer]:
        for version, run in enumerate(runs, 1):
            asked.append(version)
            yield Layer(version, run[0], run[-1], lambda run=run: (run, run))

    for number, (stamps, _) in enumerate(overlay(layers()), 1):
        assert list(stamps) == runs[number - 1]
        assert len(asked) <= number + 1


@PURE
@given(given=points)
@pytest.mark.usefixtures("small_segments")
def test_split_keeps_every_last_point_in_sorted_runs_of_bounded_size(given: list[tuple[int, Any]]) -> None:
    pulled = 0

    def source() -> Iterator[tuple[int, Any]]:
        nonlocal pulled
        for point in given:
            pulled += 1
            yield point

    seen: dict[int, Any] = {}
    for stamps, found in split(source()):
        assert 1 <= len(stamps) == len(found) <= series.SEGMENT
        assert all(a < b for a, b in pairwise(stamps))
        assert pulled <= ((pulled - 1) // series._BUFFER + 1) * series._BUFFER
        seen.update(zip(stamps, found, strict=True))
    assert seen == dict(given)


@PURE
@given(size=st.integers(0, 40))
@pytest.mark.usefixtures("small_segments")
def test_split_pulls_no_more_than_a_buffer_ahead(size: int) -> None:
    pulled, given_out = 0, 0

    def source() -> Iterator[tuple[int, int]]:
        nonlocal pulled
        for t in range(size):
            pulled += 1
            yield t, t

    for stamps, _ in split(source()):
        assert pulled - given_out <= series._BUFFER
        given_out += len(stamps)
    assert given_out == size


@PURE
@given(sizes=st.lists(st.integers(1, 9), max_size=9))
@pytest.mark.usefixtures("small_segments")
def test_join_makes_full_segments_of_the_same_points(sizes: list[int]) -> None:
    numbers = count()
    given = [[next(numbers) for _ in range(size)] for size in sizes]
    joined = [(list(stamps), list(found)) for stamps, found in joined_runs((run, [-t for t in run]) for run in given)]
    assert [t for stamps, _ in joined for t in stamps] == [t for run in given for t in run]
    assert all(found == [-t for t in stamps] for stamps, found in joined)
    assert all(len(stamps) == series.SEGMENT for stamps, _ in joined[:-1])
    assert all(1 <= len(stamps) <= series.SEGMENT for stamps, _ in joined)


@PURE
@given(stamps=st.sets(times).map(sorted), freq=st.integers(1, 20) | st.just(TIME_MAX))
def test_thin_keeps_the_first_and_each_one_freq_after_the_last_kept(stamps: list[int], freq: int) -> None:
    found = [(t, str(t)) for t in stamps]
    assert list(thin(found, freq)) == naive_thin(found, freq)


@PURE
@given(stamps=st.sets(times).map(sorted), start=st.integers(-15, 45), size=st.integers(-3, 60), freq=st.integers(1, 9))
def test_gaps_are_the_times_of_the_grid_without_a_point(stamps: list[int], start: int, size: int, freq: int) -> None:
    grid = range(start, start + size + 1, freq)
    assert list(gaps(stamps, start, start + size, freq)) == [t for t in grid if t not in stamps]


# -- the domain: events ------------------------------------------------------------------------------------------------

_NAMES = {function: function.__name__ for function in (*UNARY, *BINARY, operator.setitem, operator.delitem)}
_NAMES[DELETE] = DELETE
_ENDS = st.just((DELETE, None))


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """Histories that fold: what an operator refuses is left out."""
    history: list[Event] = []
    for item, change in draw(st.lists(st.tuples(st.sampled_from("nm"), changes | _ENDS), max_size=14)):
        event = as_event(len(history) // 2, item, change)
        with suppress(Exception):
            naive_state([*history, event])
            history.append(event)
    return [Fact(i, t, item, _NAMES[op], value) for i, (t, item, op, value) in enumerate(history, 1)]


def state_of(history: Iterable[Fact]) -> dict[str, Any]:
    return dict(fold(EventState(), history).state)


def pruned(history: list[Fact]) -> list[Fact]:
    gone = obsolete([(change.version, change.item, change.op) for change in history])
    assert gone == sorted(set(gone)), "each version is named once, in order"
    return [change for change in history if change.version not in gone]


@PURE
@given(history=histories(), at=st.integers(0, 14))
def test_a_fold_goes_on_from_where_it_stopped_and_changes_nothing_before(history: list[Fact], at: int) -> None:
    base = fold(EventState(), history[:at])
    before = deepcopy(base)
    whole = fold(base, history[at:])
    assert whole == fold(EventState(), history)
    assert base == before
    assert whole.tail == len(history)
    assert whole.version == (history[-1].version if history else 0)
    assert whole.time == (history[-1].time if history else None)


@PURE
@given(history=histories())
def test_a_fold_agrees_with_applying_the_operators_by_hand(history: list[Fact]) -> None:
    functions = {name: function for function, name in _NAMES.items()}
    assert state_of(history) == naive_state(Event(c.time, c.item, functions[c.op], c.value) for c in history)


@PURE
@given(history=histories())
def test_at_every_point_of_a_history_a_prune_leaves_the_state_as_it_is(history: list[Fact]) -> None:
    for end in range(len(history) + 1):
        assert state_of(pruned(history[:end])) == state_of(history[:end])


@PURE
@given(history=histories())
def test_what_follows_a_prune_folds_as_it_would_have_without(history: list[Fact]) -> None:
    for end in range(len(history) + 1):
        assert state_of([*pruned(history[:end]), *history[end:]]) == state_of(history)


@PURE
@given(history=histories())
def test_a_prune_leaves_nothing_for_a_second_one(history: list[Fact]) -> None:
    kept = pruned(history)
    assert pruned(kept) == kept
    for item in {change.item for change in kept}:
        ops = [change.op for change in kept if change.item == item]
        assert ops[0] == projection.SETITEM
        assert not projection.RESETS & set(ops[1:])
    assert bool(kept) == bool(state_of(history))


# -- the domain: spans -------------------------------------------------------------------------------------------------

any_times = st.one_of(
    st.integers(-40, 40),
    st.integers(TIME_MIN, TIME_MAX),
    st.integers(0, 63).map(lambda bits: (1 << bits) - 1),
    st.integers(0, 62).map(lambda bits: -(1 << bits)),
    st.sampled_from([TIME_MIN, TIME_MAX]),
)


@PURE
@given(span=st.tuples(any_times, any_times).map(sorted), asked=any_times)
def test_no_span_that_touches_a_time_or_later_starts_before_its_levels_reach(span: list[int], asked: int) -> None:
    start, end = span
    if end >= asked:
        assert reach(level(start, end), asked) <= start


@PURE
@given(of_level=st.integers(0, TOP_LEVEL), asked=any_times)
def test_a_levels_reach_is_no_wider_than_its_longest_span(of_level: int, asked: int) -> None:
    start = reach(of_level, asked)
    assert TIME_MIN <= start <= asked
    end = min(start + (1 << of_level) - 1, TIME_MAX) if of_level < TOP_LEVEL else TIME_MAX
    assert end >= asked
    assert level(start, end) <= of_level
    if start > TIME_MIN and of_level < TOP_LEVEL:
        assert end == asked, "a span that starts one earlier would not reach"


@PURE
@given(span=st.tuples(any_times, any_times).map(sorted), longer=st.integers(0, 1 << 62))
def test_levels_grow_with_spans_and_fit_in_a_mask_of_64_bits(span: list[int], longer: int) -> None:
    start, end = span
    assert 0 <= level(start, end) <= level(start, min(TIME_MAX, end + longer)) <= TOP_LEVEL
    assert (level(start, end) == 0) == (start == end)
    assert end - start < 1 << (level(start, end) if level(start, end) < TOP_LEVEL else 64)

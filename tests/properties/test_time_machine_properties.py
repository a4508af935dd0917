"""Properties of the time machine: what was known at a time is what plain dicts were at that time.

``RSTORE_EXAMPLES=500`` in the environment makes the search longer and random.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from itertools import count, pairwise
from typing import Any

import pytest
from attrs import Factory, define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from rstore import Change, Erasure, Event, Store, StoreIntegrityError, View
from rstore.adapters.memory import MemoryLog, Space
from rstore.domain.log import Connector
from rstore.domain.operators import DELETE
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, TS
from tests.conftest import KEY, Backend
from tests.properties.test_properties import (
    EXAMPLES,
    START,
    STATEFUL,
    Clock,
    as_event,
    is_deleted,
    naive_deletion,
    naive_history,
    naive_kept,
    naive_state,
    now,
    shown,
    shrink_constants,
)

KEYS = ("a", "ab", "é")
ITEMS = ("n", "m")

keys = st.sampled_from(KEYS)
values = st.one_of(st.integers(-3, 3), st.none(), st.text(max_size=2), st.lists(st.integers(0, 3), max_size=2))
points = st.lists(st.tuples(st.integers(-5, 15), values), min_size=1, max_size=9)
changes = st.one_of(
    st.integers(-2, 2),
    values,
    st.just((operator.delitem, None)),
    st.tuples(st.sampled_from([operator.add, operator.mul]), st.integers(-2, 2)),
)
states = st.dictionaries(st.sampled_from(ITEMS), changes, min_size=1, max_size=2)


@define
class Known:
    """What plain dicts hold of all three models; and of the changes in the order in which they were made."""

    kv: dict[str, Any] = Factory(dict)
    ts: dict[str, dict[int, Any]] = Factory(dict)
    es: dict[str, list[Event]] = Factory(dict)
    log: list[tuple[str, str, Any]] = Factory(list)


class TimeMachine(RuleBasedStateMachine):
    """Two Stores on the same data, either of which does the next step; and what was known after each of them."""

    connect: Any
    key: str | None
    clock: Clock
    asked: int
    _numbers = count()

    def __init__(self) -> None:
        super().__init__()
        self.clock.ms = START
        namespace = f"machine {next(self._numbers)}"
        self.stores = [Store(self.connect, namespace, self.key, frozen=False).open() for _ in range(2)]
        self.known = Known()
        self.remembered: dict[int, Known] = {}
        self.is_compacted = False

    def teardown(self) -> None:
        try:
            self.clock.ms += 1
            self.check()
        finally:
            self.stores[1].close()
            self.stores[0].discard()
            self.stores[0].close()

    def remember(self) -> None:
        """Note what is known now: what is done later in the same millisecond belongs to it too."""
        self.remembered[now()] = deepcopy(self.known)

    @rule(ms=st.sampled_from([1, 1, 2, 1000]))
    def time_goes_by(self, ms: int) -> None:
        self.clock.ms += ms

    # -- what is done, alone or in a transaction --

    @rule(who=st.integers(0, 1), key=keys, value=values)
    def set(self, who: int, key: str, value: Any) -> None:
        self._set(self.stores[who], self.known, key, value)
        self.remember()

    @rule(who=st.integers(0, 1), key=keys)
    def delete(self, who: int, key: str) -> None:
        self._delete(self.stores[who], self.known, key)
        self.remember()

    @rule(who=st.integers(0, 1), key=keys, points=points)
    def extend(self, who: int, key: str, points: list[tuple[int, Any]]) -> None:
        self._extend(self.stores[who], self.known, key, points)
        self.remember()

    @rule(who=st.integers(0, 1), key=keys, start=st.integers(-6, 16), size=st.integers(0, 20))
    def remove(self, who: int, key: str, start: int, size: int) -> None:
        self._remove(self.stores[who], self.known, key, start, start + size)
        self.remember()

    @rule(who=st.integers(0, 1), key=keys, state=states, t=st.none() | st.integers(-9, 9))
    def apply(self, who: int, key: str, state: dict[str, Any], t: int | None) -> None:
        self._apply(self.stores[who], self.known, key, state, t)
        self.remember()

    @rule(who=st.integers(0, 1), key=keys, t=st.none() | st.integers(-9, 9))
    def delete_events(self, who: int, key: str, t: int | None) -> None:
        self._delete_events(self.stores[who], self.known, key, t)
        self.remember()

    @rule(
        who=st.integers(0, 1),
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("_set"), keys, values),
                st.tuples(st.just("_delete"), keys),
                st.tuples(st.just("_extend"), keys, points),
                st.tuples(st.just("_remove"), keys, st.integers(-6, 9), st.integers(3, 16)),
                st.tuples(st.just("_apply"), keys, states, st.none() | st.integers(-9, 9)),
                st.tuples(st.just("_delete_events"), keys, st.none() | st.integers(-9, 9)),
            ),
            min_size=1,
            max_size=6,
        ),
        fails=st.booleans(),
    )
    def in_a_transaction(self, who: int, steps: list[Any], fails: bool) -> None:
        store, inside = self.stores[who], deepcopy(self.known)
        try:
            with store.transaction():
                for name, *arguments in steps:
                    getattr(self, name)(store, inside, *arguments)
                self.check_all(store, inside)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return
        # a transaction appends stream by stream, in the order in which they were first written to
        new = inside.log[len(self.known.log) :]
        order = list(dict.fromkeys(change[:2] for change in new))
        inside.log[len(self.known.log) :] = sorted(new, key=lambda change: order.index(change[:2]))
        self.known = inside
        self.remember()

    def _set(self, store: Store, known: Known, key: str, value: Any) -> None:
        store[key] = value
        known.kv[key] = value
        known.log.append((KV, key, value))

    def _delete(self, store: Store, known: Known, key: str) -> None:
        store.delete(key)
        if key in known.kv:
            del known.kv[key]
            known.log.append((KV, key, None))

    def _extend(self, store: Store, known: Known, key: str, points: list[tuple[int, Any]]) -> None:
        store.extend(key, points)
        known.ts.setdefault(key, {}).update(points)
        segments = sorted(dict(points).items())
        known.log += [(TS, key, segments[i : i + 4]) for i in range(0, len(segments), 4)]

    def _remove(self, store: Store, known: Known, key: str, start: int, end: int) -> None:
        store.remove(key, start=start, end=end)
        before = known.ts.get(key, {})
        left = {t: value for t, value in before.items() if not start <= t <= end}
        if len(left) == len(before):
            return
        known.log.append((TS, key, (max(start, min(before)), min(end, max(before)))))
        known.ts[key] = left
        if not left:
            del known.ts[key]

    def _apply(self, store: Store, known: Known, key: str, state: dict[str, Any], t: int | None) -> None:
        when = None if t is None else START + 3 * t
        history = naive_history(known.es.get(key, []), state, when)
        if history is None:
            with pytest.raises(StoreIntegrityError):
                store.apply(key, state, t=when)
            return
        assert store.apply(key, state, t=when) == (None if is_deleted(history) else naive_state(history))
        known.es[key] = history
        known.log += [(ES, key, as_event(0, item, change).value) for item, change in state.items()]

    def _delete_events(self, store: Store, known: Known, key: str, t: int | None) -> None:
        when = None if t is None else START + 3 * t
        history = naive_deletion(known.es[key], when) if key in known.es else []
        if history is None:
            with pytest.raises(StoreIntegrityError):
                store.delete_events(key, t=when)
            return
        store.delete_events(key, t=when)
        if key in known.es:
            known.log += [(ES, key, None)] * (len(history) - len(known.es[key]))
            known.es[key] = history

    # -- the way back --

    @rule(who=st.integers(0, 1), key=keys, kind=st.sampled_from([KV, TS]), which=st.integers(0, 99))
    def revert_to_what_was_known(self, who: int, key: str, kind: str, which: int) -> None:
        moments = [START - 1, *(moment for moment in self.remembered if moment < now())]
        moment = moments[which % len(moments)]
        store, then = self.stores[who], self.remembered.get(moment, Known())
        if store.version(key, kind) == 0:
            with pytest.raises(KeyError):
                store.revert(key, moment, kind=kind)
            return
        before = len(changes(store.history(key, kind)))
        store.revert(key, moment, kind=kind)
        present, past = (self.known.kv, then.kv) if kind == KV else (self.known.ts, then.ts)
        present.pop(key, None)
        present |= {key: deepcopy(past[key])} if key in past else {}  # type: ignore[operator]
        self.known.log += [(kind, key, change.value) for change in changes(store.history(key, kind))[before:]]
        self.remember()

    @rule(who=st.integers(0, 1), key=keys, t=st.integers(-30, 30))
    def revert_to_what_was_true(self, who: int, key: str, t: int) -> None:
        store, events = self.stores[who], self.known.es.get(key)
        if events is None:
            with pytest.raises(KeyError):
                store.revert(key, START + t)
            return
        until = [event for event in events if event.timestamp <= START + t]
        then = naive_state(until)
        assert store.revert(key, START + t) == then
        if not until or is_deleted(until):
            history = naive_deletion(events, None)
            assert history is not None
            self.known.log += [(ES, key, None)] * (len(history) - len(events))
            self.known.es[key] = history
            self.remember()
            return
        added = (store.events(key) or [])[len(shown(events)) :]
        assert naive_state([*events, *added]) == then
        self.known.es[key] = [*events, *added]
        self.known.log += [(ES, key, event.value) for event in added]
        self.remember()

    # -- what forgets --

    @rule(who=st.integers(0, 1), key=keys)
    def prune(self, who: int, key: str) -> None:
        self.stores[who].prune(key)
        self._forget_events(key)

    @rule(who=st.integers(0, 1))
    def compact(self, who: int) -> None:
        """Of the past of values and series nothing is left: of them, only what is known from now on is asked."""
        self.stores[who].compact()
        for key in KEYS:
            self._forget_events(key)
        self.clock.ms += 1
        self.is_compacted = True
        self.remembered.clear()
        self.known.log.clear()
        for change in changes(self.stores[who].log()):
            self.known.log.append((change.kind, change.key, change.value))
        self.remember()

    @rule(who=st.integers(0, 1), which=st.integers(0, 99), pruned=st.none() | keys)
    def forget_what_was_before(self, who: int, which: int, pruned: str | None) -> None:
        """What is asked of later times stays as it was: of one key of events that is pruned, or of all."""
        moments = sorted(self.remembered)
        if not moments:
            return
        before, store = moments[which % len(moments)], self.stores[who]
        if pruned is None:
            store.compact(before=before)
            self.is_compacted = True
            self.remembered = {moment: known for moment, known in self.remembered.items() if moment >= before}
        else:
            store.prune(pruned, before=before)
        for key in KEYS if pruned is None else [pruned]:
            self._forget_events_before(store, key, before)
        self.known.log = list(map(_told, changes(store.log())))

    def _forget_events_before(self, store: Store, key: str, before: int) -> None:
        ends = [change.timestamp for change in store.history(key, ES) if change.op == DELETE]
        kept = [*(store.events(key) or []), *(Event(t, None, DELETE, None) for t in ends)]  # type: ignore[arg-type]
        for moment, known in [*self.remembered.items(), (TIME_MAX, self.known)]:
            if key not in known.es:
                continue
            events, left = known.es[key], _among(known.es[key], kept)
            if moment >= before:
                for t in {event.timestamp for event in events if event.timestamp >= before} | {TIME_MAX}:
                    assert _state_at(left, t) == _state_at(events, t)
            known.es[key] = left
            if not left:
                del known.es[key]

    def _forget_events(self, key: str) -> None:
        """Forget the events that a prune erases, wherever they were known; and with the last one the key."""
        if key not in self.known.es:
            return
        kept = naive_kept(self.known.es[key])
        for known in [*self.remembered.values(), self.known]:
            known.es[key] = _among(known.es.get(key, ()), kept)
            if not known.es[key]:
                del known.es[key]
        others = [change for change in self.known.log if change[:2] != (ES, key)]
        left = [(ES, key, change.value) for change in changes(self.stores[0].history(key, ES))]
        self.known.log = [*others, *left]

    # -- what is asked --

    @rule(who=st.integers(0, 1))
    def replace(self, who: int) -> None:
        old = self.stores[who]
        self.stores[who] = Store(self.connect, old.namespace, self.key, frozen=False).open()
        old.close()

    def check(self) -> None:
        """Compare what each moment shows with what was known then: all of them, or some of the many."""
        moments = sorted(self.remembered)
        shown = moments if len(moments) <= self.asked else moments[:: -(-len(moments) // self.asked)]
        for store in self.stores:
            self.check_all(store, self.known)
            self.check_log(store)
            for moment in shown:
                self.check_all(store.at(moment), self.remembered[moment])
        for earlier, later in pairwise(moments):  # in between, it is as it was
            if later - earlier > 1 and later == moments[-1]:
                self.check_all(self.stores[0].at(later - 1), self.remembered[earlier])
        if moments and not self.is_compacted:
            self.check_all(self.stores[0].at(moments[0] - 1), Known())

    def check_all(self, store: Store | View, known: Known) -> None:
        pairs = sorted(known.kv.items())
        assert store.keys() == [key for key, _ in pairs]
        assert list(store.items()) == pairs
        assert len(store) == len(pairs)
        assert store.get_many(KEYS) == known.kv
        assert store.find("a*") == [pair for pair in pairs if pair[0].startswith("a")]
        assert store.timeseries() == sorted(known.ts)
        assert store.eventsources() == sorted(key for key, events in known.es.items() if not is_deleted(events))
        for key in KEYS:
            assert store.has(key) == (key in known.kv)
            assert store.get(key, "nothing") == known.kv.get(key, "nothing")
            self.check_series(store, key, sorted(known.ts.get(key, {}).items()))
            self.check_events(store, key, known.es.get(key))

    def check_series(self, store: Store | View, key: str, found: list[tuple[int, Any]]) -> None:
        assert store.range(key) == found
        assert store.range(key, 0, end=7) == [point for point in found if 0 <= point[0] <= 7]
        assert list(store.points(key, n=3)) == found[:3]
        assert (store.first(key), store.last(key)) == ((found[0], found[-1]) if found else (None, None))
        assert store.missing(key, 0, 9, freq=3) == [t for t in (0, 3, 6, 9) if t not in dict(found)]

    def check_events(self, store: Store | View, key: str, events: list[Event] | None) -> None:
        assert store.events(key) == (None if events is None else shown(events))
        if not events or is_deleted(events):
            assert store.current(key) is store.past(key, TIME_MAX) is None
        else:
            assert store.current(key, withtimestamp=True) == (events[-1].timestamp, naive_state(events))
        if not events:
            return
        asked = [events[0].timestamp - 1, *sorted({event.timestamp for event in events}), TIME_MAX, TIME_MIN]
        for t in asked if len(asked) < 6 else asked[:: len(asked) // 3]:
            until = [event for event in events if event.timestamp <= t]
            assert store.past(key, t) == (naive_state(until) if until and not is_deleted(until) else None)
            assert store.events(key, end=t) == shown(until)

    def check_log(self, store: Store) -> None:
        logged = changes(store.log())
        assert sorted(map(_told, logged), key=repr) == sorted(self.known.log, key=repr)
        if not self.is_compacted:
            assert [change.recorded for change in logged] == sorted(change.recorded for change in logged)
        for kind in (KV, TS, ES):
            for key in KEYS:
                own = [change for change in logged if (change.kind, change.key) == (kind, key)]
                assert own == changes(store.history(key, kind))
                versions = [change.version for change in own]
                assert versions == sorted(set(versions))
                if kind != TS:  # compact lays several records of a series together
                    assert list(map(_told, own)) == [each for each in self.known.log if each[:2] == (kind, key)]
        for moment in list(self.remembered)[:2]:
            assert changes(store.log(until=moment)) == [change for change in logged if change.recorded <= moment]
            assert changes(store.log(since=moment)) == [change for change in logged if change.recorded >= moment]
            assert list(store.at(moment).log()) == list(store.log(until=moment))


def changes(logged: Iterable[Change]) -> list[Change]:
    """Return what was stored, without what tells of erasures: the naive model erases in silence."""
    return [change for change in logged if not isinstance(change.value, Erasure)]


def _told(change: Any) -> tuple[str, str, Any]:
    return change.kind, change.key, change.value


def _state_at(events: list[Event], t: int) -> dict[str, Any]:
    return naive_state(event for event in events if event.timestamp <= t)


def _among(events: Iterable[Event], kept: list[Event]) -> list[Event]:
    """Return the events that are kept, of which there may be two that look alike."""
    left = list(kept)
    found = []
    for event in events:
        if event in left:
            left.remove(event)
            found.append(event)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    shrink_constants(monkeypatch, _SNAPSHOT_EVERY=3, SEGMENT=4, _BUFFER=16, _STEP=2)
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", clock.time_ns)
    return clock


def explore(name: str, connect: Connector, key: str | None, clock: Clock, *, examples: int, asked: int) -> None:
    given = {"connect": staticmethod(connect), "key": key, "clock": clock, "asked": asked}
    # a class of its own for each run: with derandomize, its name decides which examples are tried
    machine = type(f"TimeMachine_{name}", (TimeMachine,), given)
    run_state_machine_as_test(machine, settings=settings(STATEFUL, max_examples=examples))


def test_what_was_known_at_a_time_is_what_plain_dicts_were_then(backend: Backend, clock: Clock) -> None:
    examples, asked = (EXAMPLES, 50) if backend.is_local else (EXAMPLES // 3, 4)
    explore(backend.name, backend.connect, None, clock, examples=examples, asked=asked)


def test_also_if_it_is_encrypted(clock: Clock) -> None:
    explore("encrypted", partial(MemoryLog, Space()), KEY, clock, examples=EXAMPLES, asked=50)

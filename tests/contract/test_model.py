"""The log against a naive model: a list of records that is filtered and sorted."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rstore.adapters.memory import MemoryLog, Space
from rstore.domain.log import Copy, Entry, Head, Log, Query, Reclaimed, Record, ReplayQuery
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, TS, Stream
from tests.conftest import Backend
from tests.contract.conftest import KEY, SERIES, append, entries, entry, rewrite, then, versions, without_position

EDGES = [TIME_MIN, TIME_MIN + 1, -(2**62), -1025, -1, 0, 1, 7, 8, 1023, 1024, 2**53 + 1, 2**62, TIME_MAX - 1, TIME_MAX]
TIMES = st.integers(-20, 20) | st.sampled_from(EDGES) | st.integers(TIME_MIN, TIME_MAX)
ITEMS = st.sampled_from(["", "a", "b"])
OPS = st.sampled_from(["setitem", "add", "neg"])


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, int]:
    low, high = sorted((draw(TIMES), draw(TIMES)))
    return (low, low) if draw(st.booleans()) else (low, high)


@st.composite
def made_entries(draw: st.DrawFn) -> Entry:
    return Entry(*draw(spans()), draw(ITEMS), draw(OPS), draw(st.binary(max_size=3)), None)


APPENDS = st.lists(
    st.tuples(st.lists(made_entries(), max_size=6), st.integers(0, 9), st.booleans() | st.just(True)), max_size=5
)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "span": spans(),
        "item": st.none() | ITEMS,
        "ops": st.none() | st.frozensets(OPS),
        "until": st.none() | st.integers(-1, 10),
        "after": st.integers(0, 30),
        "alive": st.booleans(),
        "reverse": st.booleans(),
        "limit": st.none() | st.integers(0, 8),
    },
)
on_every_backend = settings(
    max_examples=int(os.environ.get("RSTORE_EXAMPLES", "15")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def naive(records: list[Record], died: int, query: dict[str, Any]) -> list[Record]:
    low, high = query.get("span", (TIME_MIN, TIME_MAX))
    item, ops, until = query.get("item"), query.get("ops"), query.get("until")
    found = [
        record
        for record in records
        if record.start <= high
        and record.end >= low
        and (item is None or record.item == item)
        and (ops is None or record.op in ops)
        and (until is None or record.recorded <= until)
        and record.version > query.get("after", 0)
        and (record.version > died or not query.get("alive", False))
    ]
    found.sort(key=lambda record: (record.start, record.version), reverse=query.get("reverse", False))
    return found[: query.get("limit")]


def asked(log: Log, stream: Stream, query: dict[str, Any]) -> list[Record]:
    options = dict(query)
    if "span" in options:
        options["start"], options["end"] = options.pop("span")
    return list(log.read(stream, Query(**options)))


class TestProperties:
    @on_every_backend
    @given(appends=APPENDS, queries=st.lists(QUERIES, min_size=1, max_size=8), kind=st.sampled_from([TS, ES, KV]))
    def test_read_is_a_filter_and_a_sort(
        self, log: Log, appends: list[Any], queries: list[dict[str, Any]], kind: str
    ) -> None:
        stream = Stream(kind, f"{log.counts([kind])[0]}-{len(list(log.heads(kind, live=False)))}")
        model: list[Record] = []
        died = 0
        for added, recorded, live in appends:
            newest = append(log, stream, added, recorded=recorded, live=live)
            raised = max(recorded, model[-1].recorded if model else recorded)
            first = newest - len(added) + 1
            model += [Record(version, None, raised, *new) for version, new in enumerate(added, first)]
            died = died if live else newest
        for query in queries:
            found = [record._replace(position=None) for record in asked(log, stream, query)]
            assert found == naive(model, died, query)

    @on_every_backend
    @given(data=st.data())
    def test_any_sequence_of_writes_leaves_what_a_list_would_hold(self, backend: Backend, data: st.DataObject) -> None:
        log = backend.log(f"n{next(NUMBERS)}")
        model, stream = Model(), data.draw(st.sampled_from([SERIES, KEY]))
        for _ in range(data.draw(st.integers(1, 8))):
            if data.draw(st.booleans(), "append?"):
                times = data.draw(st.sampled_from([1, 1, 1, 40]))
                added, recorded = data.draw(st.lists(made_entries(), max_size=4)) * times, data.draw(st.integers(0, 9))
                live, replace = data.draw(st.booleans()), data.draw(st.booleans())
                before = model.version if model.known else 0
                newest = append(log, stream, added, recorded=recorded, live=live, replace=replace, expect=before)
                model.append(newest, added, recorded, live, replace)
            else:
                known = sorted(record.version for record in model.records)
                all_go = data.draw(st.booleans(), "all go?")
                # by their places: versions are another server's every time, and what is drawn must not depend on them
                places = st.lists(st.integers(0, len(known)), max_size=4)
                drop = known if all_go else [[*known, 10**6][place] for place in data.draw(places)]
                # what is put may be as old as a death only if nothing else of that age is left
                young = [v for v in known if v in drop and (all_go or v > model.died)]
                put = [
                    Record(version, None, 5, *data.draw(made_entries()))
                    for version in young
                    if data.draw(st.booleans(), "put?")
                ]
                live_after = data.draw(st.sampled_from([None, True, False]))
                saved = rewrite(log, stream, drop, put, live_after)
                assert saved == model.rewrite(set(drop), put, live_after, log.head(stream))
            self.agree(log, stream, model)
        log.discard()
        log.close()

    @staticmethod
    def agree(log: Log, stream: Stream, model: Model) -> None:
        head = log.head(stream)
        assert (head is not None) == model.known
        assert log.counts([stream.kind])[0] == model.live == len(list(log.heads(stream.kind)))
        if head is not None:
            assert (head.version, head.live) == (model.version, model.live)
            assert head.floor <= head.version
        for query in ({}, {"alive": True}, {"reverse": True, "limit": 3}, {"span": (0, 9)}, {"until": 4}, {"after": 3}):
            found = [record._replace(position=None) for record in asked(log, stream, query)]
            assert found == naive(model.records, model.died, query)
        followed = [record for _, _, record in log.follow()]
        by_version = sorted(model.records, key=lambda record: record.version)
        assert [record._replace(position=None) for record in followed] == by_version
        assert log.last([stream]) == (followed[-1:] or [None])

    @on_every_backend
    @given(data=st.data())
    def test_the_past_is_what_the_records_tell(self, backend: Backend, data: st.DataObject) -> None:
        log, recorded = backend.log(f"n{next(NUMBERS)}"), 0
        streams = [Stream(kind, key) for kind in (KV, TS) for key in ("a", "ab", "b")]
        for _ in range(data.draw(st.integers(1, 12))):
            stream = data.draw(st.sampled_from(streams))
            recorded += data.draw(st.integers(0, 2))
            known = list(log.read(stream))
            if data.draw(st.booleans(), "append?") or not known:
                live, number = data.draw(st.booleans()), data.draw(st.integers(1, 40))
                added = [entry(0 if stream.kind == KV else data.draw(st.integers(-9, 9))) for _ in range(number)]
                added = [each._replace(op="setitem") for each in added[:-1]] + [
                    added[-1]._replace(op="setitem" if live else "delitem")
                ]
                append(log, stream, added, recorded=recorded, live=live, replace=data.draw(st.booleans()))
            else:
                newest = max(known)
                drop = [record for record in known if record != newest and data.draw(st.booleans(), "drop?")]
                put = [record._replace(data=b"new") for record in drop if data.draw(st.booleans(), "put?")]
                rewrite(log, stream, [record.version for record in drop], put)
        for until in range(-1, recorded + 2):
            expected = {stream: then(log, stream, until) for stream in streams}
            assert log.last(streams, until) == list(expected.values())
            heads = {
                stream: Head(stream, last.version, 0, stream.kind == TS or last.op == "setitem")
                for stream, last in expected.items()
                if last is not None
            }
            assert [log.head(stream, until) for stream in streams] == [heads.get(stream) for stream in streams]
            for kind in (KV, TS):
                of_kind = [head for stream, head in heads.items() if stream.kind == kind]
                assert list(log.heads(kind, until=until, live=False)) == of_kind
                assert list(log.heads(kind, until=until)) == [head for head in of_kind if head.live]
        log.discard()
        log.close()

    @on_every_backend
    @given(data=st.data())
    def test_a_copy_is_what_its_source_is(self, backend: Backend, data: st.DataObject) -> None:
        source, log = MemoryLog(Space(), "source", False), backend.log(f"n{next(NUMBERS)}")
        source.open()
        streams = [Stream(kind, key) for kind in (KV, TS, ES) for key in "ab"]
        for _ in range(data.draw(st.integers(1, 8))):
            stream = data.draw(st.sampled_from(streams))
            known = versions(source, stream)
            if data.draw(st.booleans(), "append?") or not known:
                live, replace = data.draw(st.booleans()), data.draw(st.booleans())
                added, recorded = (
                    data.draw(st.lists(made_entries(), min_size=1, max_size=4)),
                    data.draw(st.integers(0, 9)),
                )
                if stream.kind == KV:  # whose values are of no time
                    added = [each._replace(start=0, end=0) for each in added]
                # a key's last operator tells whether it lives
                added[-1] = added[-1]._replace(op="setitem" if live else "delitem")
                append(source, stream, added, recorded=recorded, live=live, replace=replace)
            else:
                dropped = [version for version in known if version != max(known) and data.draw(st.booleans(), "drop?")]
                rewrite(source, stream, dropped, [], None if stream.kind == KV else data.draw(st.booleans()))
        given_copies = [Copy(stream, each.version, True, 0, [each]) for _, stream, each in source.follow()]
        heads = [head for kind in (KV, TS, ES) for head in source.heads(kind, live=False)]
        cut = data.draw(st.integers(0, len(given_copies)))
        for part in (given_copies[:cut], given_copies, [Copy(h.stream, h.version, h.live, h.died) for h in heads]):
            log.restore(part)
        queries = data.draw(st.lists(QUERIES, min_size=1, max_size=4))
        for each in (source, log):
            assert [head._replace(floor=0) for kind in (KV, TS, ES) for head in each.heads(kind, live=False)] == [
                head._replace(floor=0) for head in heads
            ]
        for shown in (
            lambda of: [without_position(asked(of, stream, query)) for stream in streams for query in queries],
            lambda of: [without_position(of.last(streams, until)) for until in (None, 0, 4)],
            lambda of: [of.head(stream, 4) for stream in streams],
            lambda of: [list(of.heads(kind, until=4)) for kind in (KV, TS, ES)],
            lambda of: of.counts((KV, TS, ES)),
            lambda of: [(stream, each._replace(position=None)) for _, stream, each in of.follow()],
            lambda of: [
                found and without_position(found.records) for found in of.replay([*map(ReplayQuery, streams[-2:])])
            ],
        ):
            assert shown(log) == shown(source)
        for head in heads:
            assert append(log, head.stream, entries(1), expect=head.version) > head.version
        log.discard()
        log.close()


NUMBERS = count()
EPOCH = 1 << 20
"""Some backends number versions in epochs of this size, of which a new one may begin between any two appends."""


def is_next(version: int, before: int) -> bool:
    """Tell whether a version is the one after another, or the first one of a later epoch."""
    return version == before + 1 or (version > before and version % EPOCH == 1)


class Model:
    """One stream as a list of records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.version = self.died = self.highest = 0
        self.live = self.known = False

    def append(self, newest: int, added: list[Entry], recorded: int, live: bool, replace: bool) -> None:
        first = newest - len(added) + 1
        assert is_next(first, self.version) if self.known else first > self.highest
        if self.records:
            recorded = max(recorded, max(self.records).recorded)
        if replace:
            self.records = []
        self.records += [Record(version, None, recorded, *new) for version, new in enumerate(added, first)]
        self.version = newest
        self.highest = max(self.highest, newest)
        self.live, self.known = live, True
        self.died = self.died if live else newest

    def rewrite(self, drop: set[int], put: list[Record], live: bool | None, after: Head | None) -> Reclaimed:
        if not self.known:
            return Reclaimed(0, 0)
        gone = [record for record in self.records if record.version in drop]
        live = self.live if live is None else live
        if gone or live != self.live:
            assert after is None or is_next(after.version, self.version)
            self.version = after.version if after else self.version + 1
            self.highest = max(self.highest, self.version)
        self.records = [record for record in self.records if record.version not in drop] + put
        self.died = min([self.died, *(record.version - 1 for record in put)])
        self.live = live
        if not (self.records or live):
            self.known, self.died = False, 0
        size = sum(len(record.data) for record in gone) - sum(len(record.data) for record in put)
        return Reclaimed(len(gone) - len(put), size)

"""What a replay promises: a snapshot and the records after it, in one read."""

from __future__ import annotations

from typing import Any

import pytest

from rstore.domain.as_of import AsOf
from rstore.domain.log import Batch, Log, Query, Replay, ReplayQuery
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, SS, TS, Stream
from rstore.domain.transaction import Transaction
from tests.conftest import Backend, in_turn
from tests.contract.conftest import ALL, EVENTS, append, entries, entry, head_of, rewrite, starts, versions

SNAPSHOTS = Stream(SS, "events")


def following(stream: Stream, after: int) -> ReplayQuery:
    """Ask for the records after a version, without a snapshot."""
    return ReplayQuery(stream, Query(after=after), None)


class TestReplay:
    @pytest.fixture
    def folded(self, log: Log) -> Log:
        """Ten events at times 10..100, and snapshots of the first three and the first six."""
        first = append(log, EVENTS, entries(10, 20, 30))
        append(log, SNAPSHOTS, [entry(30, item=str(first), op="snapshot", data=b"three")])
        second = append(log, EVENTS, entries(40, 50, 60))
        append(log, SNAPSHOTS, [entry(60, item=str(second), op="snapshot", data=b"six")])
        append(log, EVENTS, entries(70, 80, 90, 100))
        return log

    def replayed(
        self, log: Log, *, after: int | None = None, horizon: int | None = TIME_MAX, **options: Any
    ) -> tuple[bytes | None, list[int]]:
        horizon, options = (horizon, options) if after is None else (None, {**options, "after": after})
        (replay,) = log.replay([ReplayQuery(EVENTS, Query(**options), horizon)])
        assert replay is not None
        assert replay.head == log.head(EVENTS)
        return replay.snapshot.data if replay.snapshot else None, starts(replay.records)

    def test_an_unknown_stream_is_none(self, log: Log) -> None:
        append(log, Stream(TS, EVENTS.key), entries(1))
        assert log.replay([ReplayQuery(EVENTS)]) == [None]
        assert log.replay([ReplayQuery(EVENTS, Query(after=3), None)]) == [None]
        assert log.replay([ReplayQuery(EVENTS, Query(alive=True, limit=1), None)]) == [None]

    def test_without_snapshots_it_is_all_records_in_order_of_time(self, log: Log) -> None:
        append(log, EVENTS, entries(3, 1, 2))
        assert self.replayed(log) == (None, [1, 2, 3])
        assert self.replayed(log, end=2) == (None, [1, 2])

    def test_the_newest_snapshot_and_what_came_after_it(self, folded: Log) -> None:
        assert self.replayed(folded) == (b"six", [70, 80, 90, 100])

    def test_the_snapshot_is_a_whole_record(self, folded: Log) -> None:
        (replay,) = folded.replay([ReplayQuery(EVENTS)])
        assert replay is not None
        assert replay.snapshot == list(folded.read(SNAPSHOTS))[-1]
        assert replay.records == list(folded.read(EVENTS, Query(start=70)))

    @in_turn(
        ("end", "found"),
        [
            (TIME_MAX, (b"six", [70, 80, 90, 100])),
            (100, (b"six", [70, 80, 90, 100])),
            (70, (b"six", [70])),
            (60, (b"six", [])),
            (59, (b"three", [40, 50])),
            (30, (b"three", [])),
            (29, (None, [10, 20])),
            (9, (None, [])),
            (TIME_MIN, (None, [])),
        ],
    )
    def test_end_bounds_records_and_snapshots(self, folded: Log, end: int, found: tuple[bytes, list[int]]) -> None:
        assert self.replayed(folded, end=end) == found

    @in_turn(
        ("horizon", "found"),
        [
            (60, (b"six", [70, 80, 90, 100])),
            (59, (b"three", [40, 50, 60, 70, 80, 90, 100])),
            (29, (None, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100])),
            (TIME_MIN, (None, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100])),
        ],
    )
    def test_horizon_bounds_snapshots_alone(self, folded: Log, horizon: int, found: tuple[bytes, list[int]]) -> None:
        assert self.replayed(folded, horizon=horizon) == found

    def test_end_and_horizon_together(self, folded: Log) -> None:
        assert self.replayed(folded, end=80, horizon=59) == (b"three", [40, 50, 60, 70, 80])
        assert self.replayed(folded, end=40, horizon=100) == (b"three", [40])

    def test_records_after_a_snapshot_are_chosen_by_version_not_by_time(self, folded: Log) -> None:
        append(folded, EVENTS, entries(15))  # comes in late: whoever folds must see it
        assert self.replayed(folded) == (b"six", [15, 70, 80, 90, 100])
        assert self.replayed(folded, end=70) == (b"six", [15, 70])

    def test_after_takes_no_snapshot_but_the_newer_records(self, folded: Log) -> None:
        known = versions(folded, EVENTS)
        assert self.replayed(folded, after=known[7]) == (None, [90, 100])
        assert self.replayed(folded, after=known[0], end=30) == (None, [20, 30])
        assert self.replayed(folded, after=0)[1] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
        assert self.replayed(folded, after=known[-1]) == (None, [])

    def test_until_bounds_records_and_snapshots_but_not_the_head(self, log: Log) -> None:
        for recorded in (1, 2, 3):
            newest = append(log, EVENTS, entries(10 * recorded), recorded=recorded)
            append(log, SNAPSHOTS, [entry(10 * recorded, item=str(newest), data=b"%d" % recorded)], recorded=recorded)
            append(log, EVENTS, entries(10 * recorded + 5), recorded=recorded)
        known = versions(log, EVENTS)
        assert self.replayed(log, until=0) == (None, [])
        assert self.replayed(log, until=1) == (b"1", [15])
        assert self.replayed(log, until=2) == (b"2", [25])
        assert self.replayed(log, until=2, horizon=19) == (b"1", [15, 20, 25])
        assert self.replayed(log, until=2, after=0) == (None, [10, 15, 20, 25])
        assert self.replayed(log, until=2, after=known[0]) == (None, [15, 20, 25])
        assert self.replayed(log, until=2, after=known[4]) == (None, [])

    def test_of_two_snapshots_of_one_time_the_newer_counts(self, folded: Log) -> None:
        newest = head_of(folded, EVENTS).version
        append(folded, SNAPSHOTS, [entry(100, item=str(newest), data=b"ten")])
        newest = append(folded, EVENTS, entries(100))
        append(folded, SNAPSHOTS, [entry(100, item=str(newest), data=b"eleven")])
        assert self.replayed(folded) == (b"eleven", [])

    def test_snapshots_of_other_keys_do_not_count(self, folded: Log) -> None:
        append(folded, Stream(SS, "events2"), [entry(100, item="99", data=b"wrong")])
        append(folded, Stream(TS, "events"), [entry(100, item="99", data=b"wrong")])
        assert self.replayed(folded)[0] == b"six"

    def test_an_emptied_stream_has_a_head_and_no_records(self, log: Log) -> None:
        append(log, EVENTS, entries(1, 2))
        rewrite(log, EVENTS, ALL)
        assert self.replayed(log) == (None, [])


class TestReplayOfMany:
    """Each answer is what the query alone would get, whatever the others ask."""

    @pytest.fixture
    def streams(self, log: Log) -> list[Stream]:
        """Sequences with 0 to 39 events; each third one has a snapshot, and each fifth one ended once."""
        streams = [Stream(ES, f"{i:03}") for i in range(40)]
        for i, stream in enumerate(streams):
            newest = append(log, stream, (entry(10 * t, item=f"i{t}", data=b"%d" % t) for t in range(i)), recorded=i)
            if i and i % 3 == 0:
                snapshot = entry(10 * (i // 2), item=str(newest - i + 1 + i // 2), data=b"snapshot")
                append(log, Stream(SS, stream.key), [snapshot], recorded=i)
            if i % 5 == 0:
                append(log, stream, [entry(1000)], recorded=i, live=False)
        return streams

    def check(self, log: Log, queries: list[ReplayQuery]) -> list[Replay | None]:
        found = log.replay(queries)
        assert found == [replay for query in queries for replay in log.replay([query])]
        return found

    def test_each_of_many_is_as_it_is_alone(self, log: Log, streams: list[Stream]) -> None:
        found = self.check(log, [ReplayQuery(stream) for stream in streams])
        assert [replay and len(replay.records) for replay in found[:8]] == [1, 1, 2, 1, 4, 6, 2, 7]
        assert sum(replay is not None and replay.snapshot is not None for replay in found) == 13

    def test_each_may_ask_for_something_else(self, log: Log, streams: list[Stream]) -> None:
        known = [head_of(log, stream).version for stream in streams]
        self.check(log, [following(stream, version) for stream, version in zip(streams, known, strict=True)])
        odd = [ReplayQuery(stream, Query(end=10 * i), horizon=5 * i) for i, stream in enumerate(streams)]
        odd[::4] = [following(each.stream, known[4 * i] - 2) for i, each in enumerate(odd[::4])]
        odd[::7] = [each._replace(query=each.query._replace(until=20)) for each in odd[::7]]
        odd[3:3] = [ReplayQuery(Stream(ES, "unknown")), ReplayQuery(Stream(TS, "001")), odd[5], odd[6]]
        self.check(log, odd)

    def test_none_are_none(self, log: Log) -> None:
        assert log.replay([]) == []
        assert log.replay([], room=1) == []
        unknown = [ReplayQuery(Stream(ES, f"unknown {i}")) for i in range(3)]
        assert log.replay(unknown, room=1) == log.replay(unknown) == [None] * 3

    def test_all_that_were_rewritten_begin_anew(self, log: Log, streams: list[Stream]) -> None:
        known = [head_of(log, stream).version for stream in streams[1:]]
        for stream in streams[1:]:
            rewrite(log, stream, versions(log, stream)[:1])
        queries = list(map(following, streams[1:], known))
        for replay, query in zip(self.check(log, queries), queries, strict=True):
            assert replay is None or replay.head.floor > query.query.after

    @in_turn("room", [0, 1, 300, 5_000, 20_000, 1 << 30])
    def test_there_may_be_room_for_the_first_ones_only(self, log: Log, streams: list[Stream], room: int) -> None:
        queries = [ReplayQuery(stream) for stream in streams]
        whole, pages = log.replay(queries), list[list[Replay | None]]()
        while sum(map(len, pages)) < len(queries):
            pages.append(log.replay(queries[sum(map(len, pages)) :], room))
            assert pages[-1]
        assert [replay for page in pages for replay in page] == whole
        assert room < 1 << 30 or len(pages) == 1

    def test_what_is_large_does_not_come_all_at_once(self, backend: Backend, log: Log) -> None:
        streams = [Stream(ES, f"{i:03}") for i in range(200)]
        log.append([Batch(stream, [entry(1, data=bytes(20_000))], 1) for stream in streams])
        for reader in (log, backend.log(frozen=True)):
            found = reader.replay([ReplayQuery(stream) for stream in streams], room=1 << 20)
            assert 1 <= len(found) <= 53


class TestReplayOfSpans:
    """Records of many streams in one read: of each stream those that ``read`` yields."""

    QUERIES = (
        Query(),
        Query(20, 60),
        Query(20, 60, alive=True),
        Query(TIME_MIN, 35, reverse=True, limit=3),
        Query(30, TIME_MAX, limit=2),
        Query(TIME_MIN + 5, TIME_MIN + 2**61),
        Query(TIME_MAX, TIME_MAX),
        Query(60, 20),
        Query(alive=True, reverse=True, limit=1),
        Query(ops=("remove", "add")),
        Query(ops=(), limit=5),
        Query(item="i3", until=6),
        Query(item="", ops=("extend",), start=5, end=80, until=11, limit=4, alive=True),
        Query(limit=0),
    )

    @pytest.fixture
    def streams(self, log: Log) -> list[Stream]:
        """Streams with spans of all lengths; some have ended once, and some were rewritten."""
        streams = [Stream(kind, f"{i}") for i in range(9) for kind in (TS, ES)]
        spans = [
            (0, 0),
            (10, 12),
            (30, 34),
            (31, 31),
            (20, 90),
            (-5, 2**40),
            (TIME_MIN, TIME_MAX),
            (TIME_MAX, TIME_MAX),
        ]
        for n, stream in enumerate(streams):
            for t, (start, end) in enumerate(spans):
                added = entry(start, end, item=f"i{t}" if n % 2 else "", op="remove" if t == n % 5 else "extend")
                append(log, stream, [added._replace(data=b"%d" % t * t)], recorded=t, live=(n + t) % 11 > 0)
            if n % 4 == 0:
                rewrite(log, stream, versions(log, stream)[::3])
        return [*streams, Stream(TS, "none")]

    @in_turn("query", QUERIES)
    def test_they_are_those_of_a_read(self, backend: Backend, log: Log, streams: list[Stream], query: Query) -> None:
        expected = [list(log.read(stream, query)) for stream in streams]
        asked = [ReplayQuery(stream, query, None) for stream in streams]
        for reader in (log, backend.log(frozen=True), Transaction(log)):
            found = reader.replay(asked)
            assert [replay.records if replay else [] for replay in found] == expected
            assert [replay and replay.head for replay in found] == list(map(log.head, streams))
            assert not any(replay.snapshot for replay in found if replay)
            assert [reader.replay([each])[0] for each in asked] == found
        past = AsOf(log, 5)
        assert [replay.records if replay else [] for replay in past.replay(asked)] == [
            list(past.read(stream, query)) for stream in streams
        ]

    def test_each_may_ask_for_something_else(self, backend: Backend, log: Log, streams: list[Stream]) -> None:
        queries = [*self.QUERIES, Query(after=head_of(log, streams[0]).version - 3, limit=2)]
        asked = [ReplayQuery(stream, query, None) for query in queries for stream in streams]
        expected = [list(log.read(stream, query)) for stream, query, _ in asked]
        for reader in (log, backend.log(frozen=True)):
            for room in (None, 0, 2_000, 1 << 30):
                found = list[Replay | None]()
                while len(found) < len(asked):
                    found += reader.replay(asked[len(found) :], room)
                assert [replay.records if replay else [] for replay in found] == expected

    def test_a_payload_may_be_cut(self, backend: Backend, log: Log) -> None:
        sizes = (0, 1, 9, 10, 11, 100_000)
        streams = [Stream(TS, f"{i}") for i in range(3)]
        for stream in streams:
            append(log, stream, [entry(t, data=stream.key.encode() * size) for t, size in enumerate(sizes)])
        for reader in (log, backend.log(frozen=True)):
            for stream, replay in zip(streams, reader.replay([*map(self.begun, streams)]), strict=True):
                assert replay is not None
                whole = list(reader.read(stream))
                assert [record.data[:10] for record in replay.records] == [record.data[:10] for record in whole]
                assert [record._replace(data=b"") for record in replay.records] == [
                    record._replace(data=b"") for record in whole
                ]
                assert all(len(record.data) >= min(size, 10) for record, size in zip(whole, sizes, strict=True))

    def begun(self, stream: Stream) -> ReplayQuery:
        return ReplayQuery(stream, Query(most=10), None)

    def test_in_a_transaction_they_are_with_what_it_has_written(self, log: Log, streams: list[Stream]) -> None:
        above = Transaction(log)
        for stream in streams[::2]:
            append(above, stream, [entry(15, 25), entry(70, op="remove")], recorded=9)
        replaced = streams[1]
        append(above, replaced, [entry(33, item="i3")], recorded=9, replace=True)
        for query in self.QUERIES:
            expected = [list(above.read(stream, query)) for stream in streams]
            found = above.replay([ReplayQuery(stream, query, None) for stream in streams])
            assert [replay.records if replay else [] for replay in found] == expected

    def test_what_is_large_does_not_come_all_at_once(self, backend: Backend, log: Log) -> None:
        streams = [Stream(TS, f"{i:03}") for i in range(200)]
        log.append([Batch(stream, [entry(1, data=bytes(20_000))], 1) for stream in streams])
        asked = [ReplayQuery(stream, Query(0, 5, alive=True, limit=64), None) for stream in streams]
        for reader in (log, backend.log(frozen=True)):
            assert 1 <= len(reader.replay(asked, room=1 << 20)) <= 53

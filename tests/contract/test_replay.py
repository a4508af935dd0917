"""What a replay promises: a snapshot and the records after it, in one read."""

from __future__ import annotations

from typing import Any

import pytest

from rstore.domain.log import Batch, Log, Query, Replay, ReplayQuery
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, SS, TS, Stream
from tests.conftest import Backend, in_turn
from tests.contract.conftest import ALL, EVENTS, append, entries, entry, head_of, rewrite, starts, versions

SNAPSHOTS = Stream(SS, "events")


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

    def replayed(self, log: Log, **options: Any) -> tuple[bytes | None, list[int]]:
        (replay,) = log.replay([ReplayQuery(EVENTS, **options)])
        assert replay is not None
        assert replay.head == log.head(EVENTS)
        return replay.snapshot.data if replay.snapshot else None, starts(replay.records)

    def test_an_unknown_stream_is_none(self, log: Log) -> None:
        append(log, Stream(TS, EVENTS.key), entries(1))
        assert log.replay([ReplayQuery(EVENTS)]) == [None]
        assert log.replay([ReplayQuery(EVENTS, after=3)]) == [None]

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
        self.check(log, [ReplayQuery(stream, after=version) for stream, version in zip(streams, known, strict=True)])
        odd = [ReplayQuery(stream, end=10 * i, horizon=5 * i) for i, stream in enumerate(streams)]
        odd[::4] = [query._replace(after=known[4 * i] - 2) for i, query in enumerate(odd[::4])]
        odd[::7] = [query._replace(until=20) for query in odd[::7]]
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
        queries = [ReplayQuery(stream, after=after) for stream, after in zip(streams[1:], known, strict=True)]
        for replay, query in zip(self.check(log, queries), queries, strict=True):
            assert replay is None or replay.head.floor > (query.after or 0)

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

"""What a replay promises: a snapshot and the records after it, in one read."""

from __future__ import annotations

from typing import Any

import pytest

from rstore.domain.log import Log, Query, ReplayQuery
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import SS, TS, Stream
from tests.conftest import in_turn
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
        replay = log.replay(EVENTS, ReplayQuery(**options))
        assert replay is not None
        assert replay.head == log.head(EVENTS)
        return replay.snapshot.data if replay.snapshot else None, starts(replay.records)

    def test_an_unknown_stream_is_none(self, log: Log) -> None:
        append(log, Stream(TS, EVENTS.key), entries(1))
        assert log.replay(EVENTS) is None
        assert log.replay(EVENTS, ReplayQuery(after=3)) is None

    def test_without_snapshots_it_is_all_records_in_order_of_time(self, log: Log) -> None:
        append(log, EVENTS, entries(3, 1, 2))
        assert self.replayed(log) == (None, [1, 2, 3])
        assert self.replayed(log, end=2) == (None, [1, 2])

    def test_the_newest_snapshot_and_what_came_after_it(self, folded: Log) -> None:
        assert self.replayed(folded) == (b"six", [70, 80, 90, 100])

    def test_the_snapshot_is_a_whole_record(self, folded: Log) -> None:
        replay = folded.replay(EVENTS)
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

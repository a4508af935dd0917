"""The promises of the port ``Log``, each on every backend of ``conftest.BACKENDS``.

Nothing here knows a backend: an adapter that passes may stand under a Store. The read properties are checked against
a naive model, a list of records that is filtered and sorted.
"""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rstore.adapters.memory import MemoryLog, Space
from rstore.domain.errors import StoreClosedError, StoreConflictError, StoreError, StoreNotAvailableError
from rstore.domain.log import VERSION_MAX, Batch, Copy, Entry, Head, Log, Query, Reclaimed, Record, ReplayQuery, Rewrite
from rstore.domain.paging import newest
from rstore.domain.spans import TIME_MAX, TIME_MIN, TOP_LEVEL, level
from rstore.domain.streams import ES, KV, SS, TS, Stream
from tests.conftest import Apart, Backend, case, in_turn

SERIES = Stream(TS, "series")
OTHER = Stream(TS, "other")
EVENTS = Stream(ES, "events")
SNAPSHOTS = Stream(SS, "events")
ALL = range(TIME_MAX)
MANY = 600  # more than two pages of any adapter


def entry(
    start: int = 0, end: int | None = None, *, item: str = "", op: str = "extend", data: bytes = b"", meta: Any = None
) -> Entry:
    return Entry(start, start if end is None else end, item, op, data, meta)


def entries(*starts: int) -> list[Entry]:
    return [entry(start) for start in starts]


def append(log: Log, stream: Stream, added: Iterable[Entry], *, recorded: int = 1, **options: Any) -> int:
    return log.append([Batch(stream, added, recorded, **options)])[0]


def rewrite(
    log: Log, stream: Stream, drop: Collection[int] = (), put: Iterable[Record] = (), live: bool | None = None
) -> Reclaimed:
    return log.rewrite([Rewrite(stream, None, drop, put, live)])


def starts(records: Iterable[Record]) -> list[int]:
    return [record.start for record in records]


def versions(log: Log, stream: Stream) -> list[int]:
    return [record.version for record in log.read(stream)]


def keys(heads: Iterable[Head]) -> list[str]:
    return [head.stream.key for head in heads]


def head_of(log: Log, stream: Stream) -> Head:
    head = log.head(stream)
    assert head is not None
    return head


def broken(*before: Entry) -> Iterator[Entry]:
    yield from before
    raise RuntimeError("the source of the entries failed")


def everything(log: Log, *streams: Stream) -> list[object]:
    """Return all that a log shows of itself, to compare before and after what must change nothing."""
    kinds = {stream.kind for stream in streams}
    return [
        [list(log.read(stream)) for stream in streams],
        [list(log.read(stream, Query(alive=True))) for stream in streams],
        [log.head(stream) for stream in streams],
        [(log.count(kind), list(log.heads(kind, live=False)), list(log.heads(kind))) for kind in sorted(kinds)],
        list(log.follow()),
    ]


class TestAppend:
    def test_what_was_appended_is_read_back_field_by_field(self, log: Log) -> None:
        given_entry = Entry(-5, 7, "item", "op", b"data", b"meta")
        version = append(log, SERIES, [given_entry], recorded=1234)

        (record,) = log.read(SERIES)

        assert record == Record(version, record.position, 1234, *given_entry)
        assert isinstance(record, Record)

    @pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe\0'\"\\\r\n", bytes(range(256)) * 17, b"x" * 1_500_000])
    def test_data_is_arbitrary_bytes(self, log: Log, data: bytes) -> None:
        append(log, SERIES, [entry(data=data)])
        assert [record.data for record in log.read(SERIES)] == [data]

    def test_meta_none_empty_and_arbitrary_bytes_are_three_different_things(self, log: Log) -> None:
        append(log, SERIES, [entry(meta=None), entry(meta=b""), entry(meta=b"\0\xff'")])
        metas = [record.meta for record in log.read(SERIES)]
        assert metas == [None, b"", b"\0\xff'"]
        assert [record.meta for _, _, record in log.follow()] == metas

    @pytest.mark.parametrize("name", ["", "a'b\"c", "%_*?[x]", "\\", "{}:.__", "\u2028\x7f\x01", "😀\U0010ffff", " a "])
    def test_keys_and_items_are_arbitrary_text(self, log: Log, name: str) -> None:
        stream = Stream(ES, name)
        append(log, stream, [entry(item=name), entry(item="else")])
        assert [record.item for record in log.read(stream, Query(item=name))] == [name]
        assert log.last([stream, SERIES, stream])[0] == log.last([stream])[0] is not None
        assert keys(log.heads(ES)) == [name]
        assert [found for _, found, _ in log.follow()] == [stream, stream]

    def test_kinds_do_not_clash_over_a_key(self, log: Log) -> None:
        streams = [Stream(kind, "same") for kind in (KV, TS, ES, SS)]
        log.append([Batch(stream, [entry(data=stream.kind.encode())], 1) for stream in streams])
        for stream in streams:
            assert [record.data for record in log.read(stream)] == [stream.kind.encode()]
            assert log.count(stream.kind) == 1

    def test_it_returns_the_newest_version_of_each_stream_in_the_order_of_the_batches(self, log: Log) -> None:
        append(log, OTHER, entries(1, 2, 3))
        found = log.append([Batch(stream, entries(4, 5), 1) for stream in (EVENTS, OTHER, SERIES)])
        assert found == [head_of(log, stream).version for stream in (EVENTS, OTHER, SERIES)]
        assert found == [max(versions(log, stream)) for stream in (EVENTS, OTHER, SERIES)]

    def test_no_batches_append_nothing(self, log: Log) -> None:
        assert log.append([]) == []
        assert list(log.follow()) == []

    def test_versions_and_positions_increase_in_the_order_of_the_entries(self, log: Log) -> None:
        append(log, SERIES, entries(9, 5))
        append(log, SERIES, entries(7))
        append(log, SERIES, entries(1, 8, 3))
        records = sorted(log.read(SERIES))
        assert starts(records) == [9, 5, 7, 1, 8, 3]
        assert all(a.version < b.version and a.position < b.position for a, b in pairwise(records))

    def test_entries_are_iterated_once_and_may_be_many(self, log: Log) -> None:
        asked = []
        version = append(log, SERIES, (asked.append(i) or entry(i) for i in range(MANY)))
        assert asked == list(range(MANY)) == starts(log.read(SERIES))
        assert version == head_of(log, SERIES).version

    def test_recorded_never_decreases_along_a_stream(self, log: Log) -> None:
        for time in (100, 50, 100, 101, -7):
            append(log, SERIES, entries(0), recorded=time)
        append(log, SERIES, entries(0, 0), recorded=60)
        append(log, OTHER, entries(0), recorded=60)
        assert [record.recorded for record in log.read(SERIES)] == [100, 100, 100, 101, 101, 101, 101]
        assert [record.recorded for record in log.read(OTHER)] == [60]

    def test_recorded_is_raised_to_that_of_the_last_record_also_when_that_is_replaced(self, log: Log) -> None:
        append(log, SERIES, entries(0), recorded=100)
        append(log, SERIES, entries(1), recorded=50, replace=True)
        assert [record.recorded for record in log.read(SERIES)] == [100]

    def test_all_batches_of_an_append_are_recorded_at_one_time(self, log: Log) -> None:
        append(log, SERIES, entries(0), recorded=100)
        log.append([Batch(EVENTS, entries(0), 20), Batch(SERIES, entries(0), 30), Batch(OTHER, entries(0), 40)])
        assert [log.last([stream])[0].recorded for stream in (EVENTS, SERIES, OTHER)] == [100, 100, 100]
        log.append([Batch(EVENTS, entries(0), 200), Batch(OTHER, entries(0), 150)])
        assert [log.last([stream])[0].recorded for stream in (EVENTS, SERIES, OTHER)] == [200, 100, 200]

    def test_also_those_that_are_sent_in_several_parts(self, log: Log) -> None:
        append(log, SERIES, entries(0), recorded=100)
        large = [entry(n, data=os.urandom(3 << 20)) for n in range(2)]
        log.append([Batch(EVENTS, large, 20), Batch(OTHER, large[:1], 30), Batch(SERIES, large, 40)])
        assert {log.last([stream])[0].recorded for stream in (EVENTS, SERIES, OTHER)} == {100}

    def test_a_batch_without_entries_only_checks(self, log: Log) -> None:
        version = append(log, SERIES, entries(0))
        before = list(log.follow())
        for stream, expect in ((SERIES, version), (OTHER, 0)):
            log.append([Batch(stream, (), 5, expect, if_live=True)])
        assert list(log.follow()) == before
        assert log.head(SERIES) == Head(SERIES, version, head_of(log, SERIES).floor, live=True)
        assert log.head(OTHER) is None
        for stream, expect in ((SERIES, version - 1), (SERIES, 0), (OTHER, 1)):
            with pytest.raises(StoreConflictError):
                log.append([Batch(EVENTS, entries(0), 5), Batch(stream, (), 5, expect, if_live=True)])
        assert log.head(EVENTS) is None

    def test_recorded_is_kept_exactly_in_64_bits(self, log: Log) -> None:
        append(log, SERIES, entries(0), recorded=TIME_MIN)
        append(log, SERIES, entries(1), recorded=2**53 + 1)
        append(log, SERIES, entries(2), recorded=TIME_MAX)
        assert [record.recorded for record in log.read(SERIES)] == [TIME_MIN, 2**53 + 1, TIME_MAX]

    def test_replace_takes_the_place_of_all_earlier_records(self, log: Log) -> None:
        before = append(log, SERIES, entries(1, 2, 3))
        append(log, OTHER, entries(1))
        after = append(log, SERIES, entries(4, 5), replace=True)
        assert starts(log.read(SERIES)) == [4, 5]
        assert min(versions(log, SERIES)) > before
        assert after == head_of(log, SERIES).version
        assert starts(log.read(OTHER)) == [1]

    def test_replace_by_nothing_empties_the_stream_and_keeps_its_version(self, log: Log) -> None:
        before = append(log, SERIES, entries(1, 2))
        assert append(log, SERIES, [], replace=True) == before
        assert list(log.read(SERIES)) == []
        assert append(log, SERIES, entries(3)) > before

    def test_replace_works_on_a_new_stream(self, log: Log) -> None:
        append(log, SERIES, entries(4), replace=True)
        assert starts(log.read(SERIES)) == [4]

    def test_a_batch_without_entries_may_end_and_restore_a_life(self, log: Log) -> None:
        version = append(log, SERIES, entries(1))
        assert append(log, SERIES, [], live=False) == version
        assert (head_of(log, SERIES).live, log.count(TS)) == (False, 0)
        assert append(log, SERIES, []) == version
        assert (head_of(log, SERIES).live, log.count(TS)) == (True, 1)
        assert starts(log.read(SERIES)) == [1]


class TestAllOrNothing:
    def test_a_conflict_in_the_last_batch_undoes_the_first(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        before = everything(log, SERIES, OTHER, EVENTS)
        with pytest.raises(StoreConflictError):
            log.append(
                [
                    Batch(OTHER, entries(1), 1),
                    Batch(EVENTS, entries(1), 1, live=False),
                    Batch(SERIES, entries(3), 1, expect=1),
                ]
            )
        assert everything(log, SERIES, OTHER, EVENTS) == before
        assert log.append([Batch(OTHER, entries(1), 1, expect=0)]) == [head_of(log, OTHER).version]

    @pytest.mark.parametrize("options", [{}, {"replace": True}, {"live": False}, {"live": False, "replace": True}])
    def test_entries_that_fail_leave_nothing_behind(self, log: Log, options: dict[str, bool]) -> None:
        append(log, SERIES, entries(1, 2))
        before = everything(log, SERIES, OTHER)
        with pytest.raises(RuntimeError, match="source of the entries"):
            log.append([Batch(OTHER, entries(1), 1), Batch(SERIES, broken(entry(3), entry(0, 1 << 40)), 1, **options)])
        with pytest.raises(RuntimeError, match="source of the entries"):
            log.append([Batch(SERIES, broken(*entries(*range(MANY))), 1, **options), Batch(OTHER, entries(1), 1)])
        assert everything(log, SERIES, OTHER) == before

    def test_entries_that_fail_on_a_new_stream_leave_no_stream(self, log: Log) -> None:
        with pytest.raises(RuntimeError, match="source of the entries"):
            append(log, SERIES, broken(entry(1)))
        assert log.head(SERIES) is None
        assert (list(log.heads(TS, live=False)), log.count(TS), log.last([SERIES])) == ([], 0, [None])

    def test_the_log_is_usable_after_a_failed_append(self, log: Log) -> None:
        with pytest.raises(RuntimeError, match="source of the entries"):
            append(log, SERIES, broken(entry(1)))
        append(log, SERIES, entries(2), expect=0)
        assert starts(log.read(SERIES)) == [2]

    def test_a_failed_append_does_not_disturb_what_was_read_half_way(self, log: Log) -> None:
        append(log, SERIES, entries(*range(MANY)))
        reading = log.read(SERIES)
        first = next(reading)
        with pytest.raises(RuntimeError, match="source of the entries"):
            append(log, SERIES, broken(entry(-1)), replace=True)
        assert starts([first, *reading]) == list(range(MANY))


class TestExpect:
    def test_zero_wants_a_new_stream(self, log: Log) -> None:
        version = append(log, SERIES, entries(1), expect=0)
        with pytest.raises(StoreConflictError) as raised:
            append(log, SERIES, entries(2), expect=0)
        error = raised.value
        assert (error.kind, error.key, error.expected, error.actual) == (TS, "series", 0, version)
        assert starts(log.read(SERIES)) == [1]

    def test_a_version_wants_the_stream_as_it_was_then(self, log: Log) -> None:
        first = append(log, SERIES, entries(1))
        second = append(log, SERIES, entries(2, 3), expect=first)
        for stale in (first, second - 1, second + 1, 0):
            with pytest.raises(StoreConflictError) as raised:
                append(log, SERIES, entries(4), expect=stale)
            assert (raised.value.expected, raised.value.actual) == (stale, second)
        append(log, SERIES, entries(5), expect=second)
        assert starts(log.read(SERIES)) == [1, 2, 3, 5]

    def test_a_version_of_an_unknown_stream_conflicts_with_zero(self, log: Log) -> None:
        with pytest.raises(StoreConflictError) as raised:
            append(log, SERIES, entries(1), expect=3)
        assert (raised.value.expected, raised.value.actual) == (3, 0)
        assert log.head(SERIES) is None

    def test_none_takes_any_version(self, log: Log) -> None:
        append(log, SERIES, entries(1), expect=None)
        append(log, SERIES, entries(2), expect=None)
        assert starts(log.read(SERIES)) == [1, 2]

    def test_each_stream_is_compared_with_its_own_batch(self, log: Log) -> None:
        one, two = log.append([Batch(SERIES, entries(1), 1, expect=0), Batch(OTHER, entries(1, 2, 3), 1, expect=0)])
        log.append([Batch(OTHER, entries(4), 1, expect=two), Batch(SERIES, entries(4), 1, expect=one)])
        assert (starts(log.read(SERIES)), starts(log.read(OTHER))) == ([1, 4], [1, 2, 3, 4])

    @pytest.mark.parametrize("options", [{"live": False}, {"replace": True}])
    def test_it_holds_for_deaths_and_replacements_too(self, log: Log, options: dict[str, bool]) -> None:
        version = append(log, SERIES, entries(1))
        before = everything(log, SERIES)
        with pytest.raises(StoreConflictError):
            append(log, SERIES, entries(2), expect=version + 1, **options)
        assert everything(log, SERIES) == before
        append(log, SERIES, entries(2), expect=version, **options)
        assert log.count(TS) == options.get("live", True)

    def test_a_dead_stream_is_not_a_new_one(self, log: Log) -> None:
        version = append(log, SERIES, entries(1), live=False)
        with pytest.raises(StoreConflictError):
            append(log, SERIES, entries(2), expect=0)
        append(log, SERIES, entries(3), expect=version)

    def test_a_rewrite_in_between_is_a_conflict(self, log: Log) -> None:
        version = append(log, SERIES, entries(1, 2))
        rewrite(log, SERIES, [version])
        with pytest.raises(StoreConflictError) as raised:
            append(log, SERIES, entries(3), expect=version)
        assert raised.value.actual == head_of(log, SERIES).version == version + 1
        append(log, SERIES, entries(3), expect=version + 1)

    def test_of_racing_writers_one_wins_each_version(self, log: Log) -> None:
        def race(writer: int) -> list[int]:
            won = []
            while len(won) < 10:
                head = log.head(SERIES)
                try:
                    won.append(append(log, SERIES, entries(writer), expect=head.version if head else 0))
                except StoreConflictError:
                    continue
            return won

        with ThreadPoolExecutor(4) as pool:
            won = [version for versions_won in pool.map(race, range(4)) for version in versions_won]
        assert len(set(won)) == len(won) == 40
        assert sorted(versions(log, SERIES)) == sorted(won)


class TestVersions:
    def test_a_dropped_version_is_not_given_to_another_record(self, log: Log) -> None:
        newest = append(log, SERIES, entries(1, 2, 3))
        rewrite(log, SERIES, [newest])
        assert append(log, SERIES, entries(4)) > newest + 1  # the rewrite took one for itself

    def test_an_emptied_stream_goes_on_where_it_was(self, log: Log) -> None:
        newest = append(log, SERIES, entries(1, 2, 3))
        rewrite(log, SERIES, ALL)
        assert head_of(log, SERIES) == Head(SERIES, newest + 1, newest + 1, True)
        assert append(log, SERIES, entries(4)) > newest + 1

    def test_a_forgotten_stream_does_not_repeat_itself_when_it_comes_back(self, log: Log) -> None:
        seen: set[int] = set()
        for _ in range(3):
            version = append(log, SERIES, entries(1, 2, 3), expect=0)
            now = set(versions(log, SERIES))
            assert len(now) == 3
            assert min(now) > max(seen, default=0)
            assert version == max(now)
            seen |= now
            rewrite(log, SERIES, ALL, live=False)
            assert log.head(SERIES) is None

    def test_a_version_read_before_a_stream_was_forgotten_conflicts_with_its_successor(self, log: Log) -> None:
        old = append(log, SERIES, entries(1))
        rewrite(log, SERIES, ALL, live=False)
        append(log, SERIES, entries(2))
        with pytest.raises(StoreConflictError):
            append(log, SERIES, entries(3), expect=old)

    def test_forgetting_one_stream_does_not_disturb_the_versions_of_others(self, log: Log) -> None:
        append(log, SERIES, entries(*range(50)))
        mine = append(log, OTHER, entries(1))
        rewrite(log, SERIES, ALL, live=False)
        assert head_of(log, OTHER).version == mine
        assert append(log, OTHER, entries(2), expect=mine) > mine

    def test_a_discarded_namespace_does_not_repeat_versions_before_one_who_watches_it(self, backend: Backend) -> None:
        log, watcher = backend.log(), backend.log()
        old = append(log, SERIES, entries(1, 2, 3))
        assert head_of(watcher, SERIES).version == old
        log.discard()
        append(log, SERIES, entries(4), expect=0)
        assert min(versions(watcher, SERIES)) > old
        with pytest.raises(StoreConflictError):
            append(watcher, SERIES, entries(5), expect=old)

    def test_versions_go_on_after_a_vacuum_and_a_reopening(self, log: Log) -> None:
        old = append(log, SERIES, entries(1, 2, 3))
        rewrite(log, SERIES, ALL, live=False)
        log.vacuum()
        log.close()
        log.open()
        assert append(log, SERIES, entries(1)) > old


class TestLife:
    def test_a_stream_is_live_until_an_append_says_otherwise(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        assert head_of(log, SERIES).live is True
        append(log, SERIES, entries(2), live=False)
        assert head_of(log, SERIES).live is False
        append(log, SERIES, entries(3))
        assert head_of(log, SERIES).live is True

    def test_count_is_the_number_of_live_streams_of_a_kind(self, log: Log) -> None:
        assert log.count(TS) == 0
        streams = [Stream(TS, str(number)) for number in range(5)]
        log.append([Batch(stream, entries(1, 2), 1) for stream in streams])
        append(log, EVENTS, entries(1))
        assert (log.count(TS), log.count(ES), log.count(KV)) == (5, 1, 0)
        log.append([Batch(stream, entries(3), 1, live=False) for stream in streams[:3]])
        append(log, streams[0], entries(4), live=False)  # dies no second time
        assert (log.count(TS), log.count(ES)) == (2, 1)
        append(log, streams[0], entries(5))
        append(log, streams[0], entries(6))
        assert log.count(TS) == 3
        rewrite(log, streams[4], ALL, live=False)
        rewrite(log, streams[1], ALL)  # was dead already
        rewrite(log, streams[2], live=True)
        assert log.count(TS) == 3 == len(list(log.heads(TS)))

    def test_a_stream_may_be_born_dead(self, log: Log) -> None:
        append(log, SERIES, entries(1), live=False)
        assert (head_of(log, SERIES).live, log.count(TS)) == (False, 0)
        assert starts(log.read(SERIES)) == [1]

    def test_head_of_an_unknown_stream_is_none(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        assert log.head(Stream(ES, SERIES.key)) is None
        assert log.head(OTHER) is None

    def test_head_names_stream_version_and_floor(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        assert head_of(log, SERIES).stream == SERIES
        assert head_of(log, SERIES).floor < min(versions(log, SERIES))
        rewrite(log, SERIES, versions(log, SERIES)[:1])
        at_rewrite = head_of(log, SERIES)
        assert at_rewrite.floor == at_rewrite.version
        newest = append(log, SERIES, entries(3))
        assert head_of(log, SERIES) == Head(SERIES, newest, at_rewrite.floor, True)


SPANS = [(0, 0), (5, 5), (5, 6), (0, 100), (90, 100), (-50, 4), (101, 300), (-1000, 1000), (6, 6), (7, 7)]


class TestReadBySpan:
    def test_an_unknown_stream_has_no_records(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        assert list(log.read(OTHER)) == []

    def test_records_come_in_order_of_start_then_version(self, log: Log) -> None:
        append(log, SERIES, [entry(5, 9, data=b"1"), entry(1, data=b"2"), entry(5, data=b"3"), entry(1, 99, data=b"4")])
        append(log, SERIES, [entry(5, 1000, data=b"5"), entry(-3, data=b"6")])
        forwards = [b"6", b"2", b"4", b"1", b"3", b"5"]
        assert [record.data for record in log.read(SERIES)] == forwards
        assert [record.data for record in log.read(SERIES, Query(reverse=True))] == forwards[::-1]

    @pytest.fixture
    def spanning(self, log: Log) -> Log:
        append(log, SERIES, [entry(10, 20)])
        return log

    @in_turn(
        ("start", "end", "found"),
        [
            (10, 20, True),
            (TIME_MIN, 9, False),
            (TIME_MIN, 10, True),
            (20, TIME_MAX, True),
            (21, TIME_MAX, False),
            (15, 15, True),
            (0, 100, True),
            (10, 10, True),
            (20, 20, True),
        ],
    )
    def test_both_ends_of_a_span_and_of_a_query_are_inclusive(
        self, spanning: Log, start: int, end: int, found: bool
    ) -> None:
        assert len(list(spanning.read(SERIES, Query(start=start, end=end)))) == found

    def test_every_span_that_touches_is_found_and_no_other(self, log: Log) -> None:
        append(log, SERIES, [entry(*span) for span in SPANS])
        starts_asked = (-1001, -50, 0, 4, 5, 6, 7, 8, 90, 100, 101, 301, 1001)
        for low, high in ((t, end) for t in starts_asked for end in (t, t + 1, t + 94, 2000)):
            with case(low, high):
                expected = sorted(span for span in SPANS if span[0] <= high and span[1] >= low)
                found = [(record.start, record.end) for record in log.read(SERIES, Query(start=low, end=high))]
                assert sorted(found) == expected
                assert starts(log.read(SERIES, Query(start=low, end=high))) == [start for start, _ in expected]

    def test_spans_of_all_levels_in_one_stream(self, log: Log) -> None:
        ends = [0, *(2**bits - 1 for bits in range(1, 64))]
        assert {level(0, end) for end in ends} == set(range(TOP_LEVEL + 1))
        append(log, SERIES, [entry(0, end) for end in ends])
        for at in (0, 1, 2, 3, 1023, 1024, 2**53 + 1, 2**62 - 1, 2**62, TIME_MAX):
            found = [record.end for record in log.read(SERIES, Query(start=at, end=at))]
            assert found == [end for end in ends if end >= at]
        assert list(log.read(SERIES, Query(end=-1))) == []
        reverse = log.read(SERIES, Query(start=2**61, reverse=True, limit=2))
        assert [record.end for record in reverse] == [2**63 - 1, 2**62 - 1]

    def test_a_level_that_comes_alone_and_late_is_found(self, log: Log) -> None:
        for bits in (0, 40, 3, 63, 12, 62, 1):
            append(log, SERIES, [entry(-(2**bits) + 1, 0)])
            assert len(list(log.read(SERIES, Query(start=0, end=0)))) == len(list(log.read(SERIES)))
        assert len(list(log.read(SERIES, Query(end=-(2**40) + 1)))) == 3

    def test_the_extremes_of_64_bits(self, log: Log) -> None:
        spans = [(TIME_MIN, TIME_MIN), (TIME_MIN, TIME_MAX), (TIME_MIN, 0), (0, TIME_MAX), (TIME_MAX, TIME_MAX)]
        append(log, SERIES, [entry(*span) for span in spans])

        def at(start: int, end: int) -> list[tuple[int, int]]:
            return [(record.start, record.end) for record in log.read(SERIES, Query(start=start, end=end))]

        assert at(TIME_MIN, TIME_MAX) == spans
        assert at(TIME_MIN, TIME_MIN) == spans[:3]
        assert at(TIME_MAX, TIME_MAX) == [spans[1], *spans[3:]]
        assert at(0, 0) == spans[1:4]
        assert at(1, TIME_MAX - 1) == [spans[1], spans[3]]
        assert at(TIME_MIN + 1, -1) == [spans[1], spans[2]]

    def test_nanoseconds_are_exact(self, log: Log) -> None:
        moment = 1_700_000_000_123_456_789
        append(log, SERIES, entries(moment + 1, moment, moment - 1))
        assert starts(log.read(SERIES, Query(start=moment, end=moment))) == [moment]
        assert starts(log.read(SERIES)) == [moment - 1, moment, moment + 1]

    def test_values_of_keys_are_read_by_version_and_bounds_apply(self, log: Log) -> None:
        stream = Stream(KV, "k")
        for data in (b"1", b"2", b"3"):
            append(log, stream, [entry(data=data)])
        assert [record.data for record in log.read(stream)] == [b"1", b"2", b"3"]
        assert [record.data for record in log.read(stream, Query(reverse=True, limit=2))] == [b"3", b"2"]
        assert list(log.read(stream, Query(start=1))) == list(log.read(stream, Query(end=-1))) == []
        assert len(list(log.read(stream, Query(start=0, end=0)))) == 3

    def test_another_stream_is_never_touched(self, log: Log) -> None:
        log.append([Batch(SERIES, [entry(0, 100)], 1), Batch(OTHER, [entry(50, 60)], 1)])
        assert [record.end for record in log.read(OTHER)] == [60]


class TestReadFilters:
    @pytest.fixture
    def recorded(self, log: Log) -> Log:
        append(log, EVENTS, [entry(3, item="a", op="setitem"), entry(3, item="b", op="setitem")], recorded=10)
        append(log, EVENTS, [entry(1, item="a", op="add"), entry(5, 9, item="", op="neg")], recorded=20)
        append(log, EVENTS, [entry(4, item="A", op="add"), entry(2, item="a", op="delitem")], recorded=30)
        return log

    def test_item(self, recorded: Log) -> None:
        assert starts(recorded.read(EVENTS, Query(item="a"))) == [1, 2, 3]
        assert starts(recorded.read(EVENTS, Query(item=""))) == [5]
        assert starts(recorded.read(EVENTS, Query(item="%"))) == []

    def test_ops(self, recorded: Log) -> None:
        assert starts(recorded.read(EVENTS, Query(ops={"add"}))) == [1, 4]
        assert starts(recorded.read(EVENTS, Query(ops=("neg", "delitem", "unknown", "neg")))) == [2, 5]
        assert starts(recorded.read(EVENTS, Query(ops=[]))) == []

    def test_until_is_inclusive(self, recorded: Log) -> None:
        assert [starts(recorded.read(EVENTS, Query(until=time))) for time in (9, 10, 19, 20, TIME_MIN)] == [
            [],
            [3, 3],
            [3, 3],
            [1, 3, 3, 5],
            [],
        ]
        assert starts(recorded.read(EVENTS, Query(until=TIME_MAX))) == [1, 2, 3, 3, 4, 5]

    def test_after_is_exclusive(self, recorded: Log) -> None:
        in_order = sorted(recorded.read(EVENTS))
        for index, record in enumerate(in_order):
            found = list(recorded.read(EVENTS, Query(after=record.version)))
            assert found == sorted(in_order[index + 1 :], key=lambda later: (later.start, later.version))

    def test_limit(self, recorded: Log) -> None:
        assert starts(recorded.read(EVENTS, Query(limit=0))) == []
        assert starts(recorded.read(EVENTS, Query(limit=2))) == [1, 2]
        assert starts(recorded.read(EVENTS, Query(limit=2, reverse=True))) == [5, 4]
        assert starts(recorded.read(EVENTS, Query(limit=99))) == [1, 2, 3, 3, 4, 5]

    def test_the_limit_counts_what_is_left_after_the_other_filters(self, recorded: Log) -> None:
        assert starts(recorded.read(EVENTS, Query(item="a", limit=2, reverse=True))) == [3, 2]
        assert starts(recorded.read(EVENTS, Query(start=4, ops=["add", "neg"], limit=1))) == [4]

    def test_all_filters_together(self, recorded: Log) -> None:
        first = min(versions(recorded, EVENTS))
        query = Query(start=1, end=3, item="a", ops=["add", "setitem"], until=20, after=first, limit=5)
        assert starts(recorded.read(EVENTS, query)) == [1]

    def test_alive_is_all_if_the_stream_never_died(self, recorded: Log) -> None:
        assert list(recorded.read(EVENTS, Query(alive=True))) == list(recorded.read(EVENTS))

    def test_alive_is_what_came_after_the_last_death(self, recorded: Log) -> None:
        append(recorded, EVENTS, entries(7), live=False)
        assert list(recorded.read(EVENTS, Query(alive=True))) == []
        append(recorded, EVENTS, entries(8, 0))
        assert starts(recorded.read(EVENTS, Query(alive=True))) == [0, 8]
        append(recorded, EVENTS, entries(6, 9), live=False)
        append(recorded, EVENTS, entries(2))
        assert starts(recorded.read(EVENTS, Query(alive=True))) == [2]
        assert starts(recorded.read(EVENTS)) == [0, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9]

    def test_alive_and_after_hold_both(self, log: Log) -> None:
        early = append(log, SERIES, entries(1))
        append(log, SERIES, entries(2), live=False)
        late = append(log, SERIES, entries(3))
        append(log, SERIES, entries(4))
        assert starts(log.read(SERIES, Query(alive=True, after=early))) == [3, 4]
        assert starts(log.read(SERIES, Query(alive=True, after=late))) == [4]

    def test_a_replacement_of_the_dead_is_alive(self, log: Log) -> None:
        append(log, SERIES, entries(1), live=False)
        append(log, SERIES, entries(2), replace=True)
        assert starts(log.read(SERIES, Query(alive=True))) == [2]


class TestIterators:
    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_reader_sees_the_stream_as_it_was_when_it_began(self, log: Log, reverse: bool) -> None:
        newest = append(log, SERIES, entries(*range(MANY)))
        reading = log.read(SERIES, Query(reverse=reverse))
        seen = [next(reading)]
        append(log, SERIES, entries(-1, 300, MANY))
        seen += islice(reading, 5)
        append(log, SERIES, [entry(-9, 2000)], live=False)
        rewrite(log, SERIES, range(newest - 100, newest + 1))
        seen += islice(reading, 300)
        append(log, SERIES, entries(5), replace=True)
        seen += reading
        assert starts(seen) == list(range(MANY))[:: -1 if reverse else 1]
        assert starts(log.read(SERIES)) == [5]

    def test_a_rewritten_record_is_seen_as_it_was(self, log: Log) -> None:
        append(log, SERIES, [entry(i, data=b"old") for i in range(MANY)])
        reading = log.read(SERIES)
        seen = [next(reading)]
        put = [record._replace(data=b"new") for record in log.read(SERIES)]
        rewrite(log, SERIES, ALL, put)
        seen += reading
        assert {record.data for record in seen} == {b"old"}
        assert {record.data for record in log.read(SERIES)} == {b"new"}

    def test_a_forgotten_stream_is_read_to_its_end(self, log: Log) -> None:
        append(log, SERIES, entries(*range(MANY)))
        reading = log.read(SERIES)
        seen = [next(reading)]
        rewrite(log, SERIES, ALL, live=False)
        assert starts([*seen, *reading]) == list(range(MANY))

    def test_a_reader_begins_when_it_is_asked_for_its_first_record(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        reading = log.read(SERIES)
        append(log, SERIES, entries(2))
        assert starts(reading) == [1, 2]

    def test_one_may_write_for_each_record_that_is_read(self, log: Log) -> None:
        append(log, SERIES, entries(*range(300)))
        for record in log.read(SERIES):
            append(log, OTHER if record.start % 100 else SERIES, entries(1000))
        assert len(list(log.read(SERIES))) == 303
        assert len(list(log.read(OTHER))) == 297

    def test_an_iterator_that_is_abandoned_half_way_blocks_nobody(self, log: Log) -> None:
        append(log, SERIES, entries(*range(MANY)))
        abandoned = [log.read(SERIES), log.read(SERIES, Query(reverse=True)), log.follow(), log.heads(TS)]
        for iterator in abandoned:
            next(iterator)
        append(log, SERIES, entries(MANY))
        rewrite(log, SERIES, versions(log, SERIES)[:10])
        assert starts(log.read(SERIES, Query(limit=1))) == [10]
        del abandoned, iterator
        append(log, SERIES, entries(MANY + 1))
        assert len(list(log.read(SERIES))) == MANY - 8

    def test_many_iterators_at_once_do_not_disturb_each_other(self, log: Log) -> None:
        append(log, SERIES, entries(*range(MANY)))
        readers = [log.read(SERIES, Query(start=5 * i, reverse=i % 2 == 1)) for i in range(8)]
        seen = [starts(islice(reader, 7)) for reader in readers]
        seen = [found + starts(reader) for found, reader in zip(seen, readers, strict=True)]
        assert seen == [list(range(5 * i, MANY))[:: -1 if i % 2 else 1] for i in range(8)]


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


class TestLast:
    def test_the_newest_record_is_that_of_the_greatest_version(self, log: Log) -> None:
        append(log, SERIES, [entry(100, 200), entry(5), entry(7)])
        (record,) = log.last([SERIES])
        assert record is not None
        assert (record.start, record.version) == (7, head_of(log, SERIES).version)

    def test_one_answer_for_each_that_is_asked_in_that_order(self, log: Log) -> None:
        streams = [Stream(kind, f"{kind}{number}") for number in range(4) for kind in (KV, TS, ES)]
        for stream in streams:
            append(log, stream, [entry(item=stream.key)])
        unknown = Stream(KV, "unknown")
        asked = [*streams[::-1], unknown, streams[0], streams[0], Stream(TS, "kv0"), *streams]
        expected = [None if stream not in streams else stream.key for stream in asked]
        found = log.last(asked)
        assert [record.item if record else None for record in found] == expected
        assert found == [log.last([stream])[0] for stream in asked]

    def test_until_goes_back_in_transaction_time(self, log: Log) -> None:
        for time in (10, 20, 30):
            append(log, SERIES, entries(time), recorded=time)
            append(log, OTHER, entries(-time), recorded=time * 10)
        for until in (9, 10, 19, 20, 100, 299, 300):
            expected = [
                [t for t in (10, 20, 30) if t <= until][-1:],
                [-t for t in (10, 20, 30) if t * 10 <= until][-1:],
            ]
            found = log.last([SERIES, OTHER], until)
            assert [[record.start] if record else [] for record in found] == expected
            assert [log.last([SERIES], until)[0], log.last([OTHER], until)[0]] == found

    def test_none_asked_none_answered(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        assert log.last([]) == []

    def test_a_dead_stream_has_a_last_record_and_an_emptied_one_has_none(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        append(log, SERIES, entries(2), live=False)
        append(log, OTHER, entries(3))
        rewrite(log, OTHER, ALL)
        dead, emptied = log.last([SERIES, OTHER])
        assert dead is not None
        assert dead.start == 2
        assert emptied is None
        assert log.last([OTHER]) == [None]

    def test_after_a_prune_it_is_the_newest_that_is_left(self, log: Log) -> None:
        newest = append(log, SERIES, entries(1, 2, 3))
        rewrite(log, SERIES, [newest])
        assert [record.start for record in log.last([SERIES, SERIES]) if record] == [2, 2]

    def test_room_bounds_how_many_are_answered(self, log: Log) -> None:
        dead, emptied, unknown = Stream(KV, "dead"), Stream(ES, "emptied"), Stream(KV, "unknown")
        append(log, OTHER, [entry(data=bytes(9_000)), entry(data=bytes(5_000), meta=bytes(2_000))])
        append(log, SERIES, [entry(data=bytes(9_000)), entry()])
        append(log, dead, [entry(data=bytes(3_000))], live=False)
        append(log, emptied, entries(1))
        rewrite(log, emptied, ALL)
        asked = [OTHER, SERIES, dead, emptied, unknown, OTHER]
        whole = log.last(asked)
        for room, number in ((0, 1), (7_900, 2), (9_900, 2), (10_900, 5), (16_900, 5), (17_900, 6)):
            with case(room):
                assert log.last(asked, room=room) == whole[:number]
        assert log.last(asked[1:], room=2_900) == whole[1:2]
        assert log.last(asked[3:], room=0) == [None, None]
        assert log.last([], room=1) == []

    def test_room_bounds_what_is_answered_of_the_past_too(self, log: Log) -> None:
        for stream in (SERIES, EVENTS, OTHER):
            append(log, stream, [entry(data=bytes(2_000))], recorded=10)
            append(log, stream, [entry(1, data=bytes(2_000))], recorded=20)
        for until, start in ((10, 0), (20, 1)):
            found = log.last([SERIES, EVENTS, OTHER], until, room=4_900)
            assert starts(filter(None, found)) == [start, start]
        assert log.last([SERIES, EVENTS], 9, room=9_900) == [None, None]

    def test_the_newest_of_many_are_not_all_in_memory_at_once(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        streams = [Stream(kind, f"k{number:02}") for kind in (KV, TS) for number in range(20)]
        large = {streams[7]: 5 << 20, streams[8]: 5 << 20, streams[9]: 9 << 20, streams[30]: 9 << 20}
        log.append([Batch(each, [entry(item=each.key, data=bytes(large.get(each, 1)))], 1) for each in streams])
        last, answered = log.last, list[int]()

        def counted(streams: Sequence[Stream], **options: Any) -> list[Record | None]:
            answered.append(len(found := last(streams, **options)))
            return found

        monkeypatch.setattr(log, "last", counted)
        found = list(newest(log, [*streams, Stream(KV, "unknown")]))
        assert [record and record.item for record in found] == [*(each.key for each in streams), None]
        assert answered == [8, 1, 1, 20, 1, 10]

    def test_thousands_of_streams_at_once(self, log: Log) -> None:
        streams = [Stream(KV, f"k{number}") for number in range(2000)]
        log.append([Batch(stream, [entry(item=stream.key)], 1) for stream in streams])
        found = log.last([*streams, OTHER])
        assert [record.item if record else None for record in found] == [*(stream.key for stream in streams), None]


ODD_KEYS = ["", " ", "%", "%%", "'", "*", "**", ".", "?", "A", "[a]", "\\", "_", "__", "a", "a ", "a%b", "a*b", "a_b"]
ODD_KEYS += [
    "aXb",
    "b",
    "e\u0301",
    "z",
    "{}",
    "é",
    "中",
    "\ue000",
    "\uffff",
    "\U00010000",
    "😀",
    "😀😀",
    "\U0010ffff",
    "k" * 1024,
]


class TestHeads:
    @pytest.fixture
    def odd(self, log: Log) -> Log:
        log.append([Batch(Stream(KV, key), [entry()], 1) for key in reversed(ODD_KEYS)])
        append(log, Stream(TS, "a series"), entries(1))
        return log

    def test_keys_come_in_code_point_order(self, odd: Log) -> None:
        assert "\uffff" < "\U00010000"  # as code points, though not in UTF-16
        assert keys(odd.heads(KV)) == sorted(ODD_KEYS)

    @in_turn("prefix", ["", "a", "a%", "%", "_", "a_", "*", "\\", "'", "[", "😀", "\U0010ffff", "A", "é", "x"])
    def test_a_prefix_is_literal(self, odd: Log, prefix: str) -> None:
        assert keys(odd.heads(KV, prefix)) == sorted(key for key in ODD_KEYS if key.startswith(prefix))

    @in_turn("after", [*ODD_KEYS, "aa", "\U0010fffe"])
    def test_after_goes_on_with_the_next_key(self, odd: Log, after: str) -> None:
        assert keys(odd.heads(KV, after=after)) == sorted(key for key in ODD_KEYS if key > after)

    @in_turn("after", ["", "a", "a%b", "aXb", "b", "%"])
    def test_prefix_and_after_hold_both(self, odd: Log, after: str) -> None:
        expected = sorted(key for key in ODD_KEYS if key.startswith("a") and key > after)
        assert keys(odd.heads(KV, "a", after=after)) == expected

    def test_only_one_kind_is_listed(self, odd: Log) -> None:
        assert keys(odd.heads(TS)) == ["a series"]
        assert keys(odd.heads(ES)) == []

    def test_live_ones_or_all(self, log: Log) -> None:
        log.append([Batch(Stream(KV, key), [entry()], 1, live=key in "ace") for key in "abcde"])
        assert keys(log.heads(KV)) == ["a", "c", "e"]
        assert keys(log.heads(KV, live=False)) == ["a", "b", "c", "d", "e"]
        assert [head.live for head in log.heads(KV, live=False)] == [True, False, True, False, True]
        assert keys(log.heads(KV, live=False, after="c")) == ["d", "e"]

    def test_each_is_what_head_returns(self, log: Log) -> None:
        for number, key in enumerate("abcd"):
            append(log, Stream(TS, key), entries(*range(number + 1)))
        rewrite(log, Stream(TS, "b"), versions(log, Stream(TS, "b"))[:1])
        append(log, Stream(TS, "c"), entries(9), live=False)
        rewrite(log, Stream(TS, "d"), ALL)
        found = list(log.heads(TS, live=False))
        assert found == [log.head(head.stream) for head in found]
        assert len(found) == 4

    @pytest.mark.parametrize("number", [255, 256, 257, 512, MANY])
    def test_more_than_one_page(self, log: Log, number: int) -> None:
        names = [f"{i:04}" for i in range(number)]
        log.append([Batch(Stream(KV, name), [entry()], 1) for name in ["zz", *names, "0"]])
        assert keys(log.heads(KV)) == ["0", *names, "zz"]
        assert keys(log.heads(KV, "0")) == ["0", *names]
        assert keys(log.heads(KV, after=names[1])) == [*names[2:], "zz"]

    def test_a_listing_goes_on_while_the_log_is_written_to(self, log: Log) -> None:
        names = [f"{i:04}" for i in range(MANY)]
        log.append([Batch(Stream(KV, name), [entry()], 1) for name in names])
        seen = []
        for number, head in enumerate(log.heads(KV)):
            seen.append(head.stream.key)
            if number % 100 == 0:
                log.append(
                    [
                        Batch(Stream(KV, f"{head.stream.key}+"), [entry()], 1),
                        Batch(Stream(KV, f"!{number}"), [entry()], 1),
                        Batch(head.stream, [entry()], 1, replace=True),
                        Batch(Stream(KV, names[number + 50]), [entry()], 1),
                    ]
                )
                rewrite(log, Stream(KV, f"!{number}"), ALL, live=False)
        assert [key for key in seen if key in names] == names
        assert seen == sorted(set(seen))

    def test_what_died_far_ahead_of_a_listing_is_not_repeated_and_the_rest_is_complete(self, log: Log) -> None:
        names = [f"{i:04}" for i in range(MANY)]
        log.append([Batch(Stream(KV, name), [entry()], 1) for name in names])
        listing = log.heads(KV)
        seen = [next(listing).stream.key]
        log.append([Batch(Stream(KV, name), [entry()], 1, live=False) for name in names[1::2]])
        seen += keys(listing)
        assert seen == sorted(set(seen))
        assert set(names[::2]) <= set(seen)
        assert keys(log.heads(KV)) == names[::2]


def then(log: Log, stream: Stream, until: int) -> Record | None:
    """Return the newest record by a time, the long way."""
    return max((record for record in log.read(stream) if record.recorded <= until), default=None)


class TestThen:
    """What ``last``, ``head`` and ``heads`` show of the past."""

    KEY = Stream(KV, "key")

    @pytest.mark.parametrize("kind", [KV, TS, ES])
    def test_a_long_history_is_the_same_as_read_one_by_one(self, log: Log, kind: str) -> None:
        stream, other = Stream(kind, "long"), Stream(kind, "other")
        for recorded in range(0, 700, 7):
            # starts that don't increase: whoever looks for the newest by its span is wrong
            added = [entry(0 if kind == KV else (17 * recorded + i) % 90, op="setitem") for i in range(10)]
            append(log, stream, added, recorded=recorded)
        append(log, other, [entry()], recorded=350)
        known = versions_in_order(log, stream)
        rewrite(log, stream, known[50:440])
        rewrite(log, stream, known[900::2])
        append(log, stream, [entry(op="setitem")], recorded=0)  # no earlier than what is there
        for until in (-1, 0, 1, 6, 7, 100, 116, 117, 330, 350, 480, 600, 692, 693, 694, TIME_MAX):
            expected = [then(log, stream, until), then(log, other, until)]
            with case(until):
                assert log.last([stream, other], until) == expected
                assert log.last([stream], until) == expected[:1]
                heads = [
                    None if last is None else Head(each, last.version, 0, True)
                    for each, last in zip((stream, other), expected, strict=True)
                ]
                assert [log.head(stream, until), log.head(other, until)] == heads
                assert list(log.heads(kind, until=until)) == [head for head in heads if head]

    def test_a_key_lived_until_it_was_deleted_and_after_it_was_set_again(self, log: Log) -> None:
        for recorded, op in enumerate(["setitem", "delitem", "setitem", "delitem"]):
            append(log, self.KEY, [entry(op=op)], recorded=recorded, live=op == "setitem")
        for until, lived in ((0, True), (1, False), (2, True), (3, False), (4, False)):
            head = log.head(self.KEY, until)
            assert head is not None
            assert (head.live, head.floor) == (lived, 0)
            assert list(log.heads(KV, until=until)) == [head] * lived
            assert list(log.heads(KV, until=until, live=False)) == [head]
        assert log.head(self.KEY, -1) is None
        assert list(log.heads(KV, until=-1, live=False)) == []

    def test_a_stream_of_another_kind_lived_as_long_as_it_had_records(self, log: Log) -> None:
        append(log, SERIES, entries(1), recorded=1)
        version = append(log, SERIES, [entry(1, op="remove")], recorded=2, live=False)
        assert keys(log.heads(TS, until=1)) == ["series"]
        assert log.head(SERIES, 2) == Head(SERIES, version, 0, live=True)
        rewrite(log, SERIES, ALL, live=True)
        assert log.head(SERIES, 2) is None
        assert list(log.heads(TS, until=2)) == []

    def test_the_version_is_that_of_the_record_though_a_rewrite_has_moved_the_stream_on(self, log: Log) -> None:
        first = append(log, self.KEY, [entry(op="setitem")], recorded=1)
        newest = append(log, self.KEY, [entry(op="setitem")], recorded=2)
        rewrite(log, self.KEY, [first])
        assert log.head(self.KEY, 2) == Head(self.KEY, newest, 0, live=True)
        assert log.head(self.KEY, 1) is None

    def test_pages_prefix_and_after(self, log: Log) -> None:
        names = [f"{number:04}" for number in range(MANY)]
        for recorded, born in enumerate((names[::3], names[1::3], names[2::3])):
            log.append([Batch(Stream(KV, name), [entry(op="setitem")], recorded) for name in born])
        gone = [Batch(Stream(KV, name), [entry(op="delitem")], 3, live=False) for name in names[:500]]
        log.append(gone)
        assert keys(log.heads(KV, until=0)) == names[::3]
        assert keys(log.heads(KV, until=1)) == [name for name in names if int(name) % 3 < 2]
        assert keys(log.heads(KV, until=2)) == names
        assert keys(log.heads(KV, until=3)) == names[500:]
        assert keys(log.heads(KV, until=3, live=False)) == names
        assert keys(log.heads(KV, "02", until=2)) == names[200:300]
        assert keys(log.heads(KV, "02", until=2, after="0250")) == names[251:300]
        assert keys(log.heads(KV, until=2, after="0250")) == names[251:]

    def test_a_listing_of_the_past_goes_on_while_the_log_is_written_to(self, log: Log) -> None:
        names = [f"{number:04}" for number in range(MANY)]
        log.append([Batch(Stream(KV, name), [entry(op="setitem")], 1) for name in names])
        seen = []
        for number, head in enumerate(log.heads(KV, until=1)):
            seen.append(head.stream.key)
            if number % 100 == 0:
                later = [Batch(Stream(KV, f"{names[number]}+"), [entry(op="setitem")], 2)]
                later += [Batch(Stream(KV, name), [entry(op="delitem")], 2, live=False) for name in names[number::50]]
                log.append(later)
        assert seen == names

    def test_nobody_reads_the_future_of_a_frozen_log_either(self, backend: Backend) -> None:
        log = backend.log()
        for recorded in range(100):
            append(log, self.KEY, [entry(op="setitem", data=b"%d" % recorded)], recorded=recorded)
            append(log, SERIES, entries(-recorded), recorded=recorded)
        frozen = backend.log(frozen=True)
        for until in (-1, 0, 1, 20, 50, 98, 99, 100):
            for each in (self.KEY, SERIES):
                assert frozen.last([each], until) == [then(log, each, until)] == log.last([each], until)
            assert frozen.last([SERIES, self.KEY], until) == log.last([SERIES, self.KEY], until)
            assert frozen.head(self.KEY, until) == log.head(self.KEY, until)
            assert list(frozen.heads(TS, until=until)) == list(log.heads(TS, until=until))


def versions_in_order(log: Log, stream: Stream) -> list[int]:
    return sorted(versions(log, stream))


class TestRewrite:
    @pytest.mark.parametrize("collected", [list, tuple, set, frozenset, dict.fromkeys, lambda v: range(v[0], v[1] + 1)])
    def test_versions_to_drop_come_in_any_collection(
        self, log: Log, collected: Callable[[list[int]], Collection[int]]
    ) -> None:
        log.append([Batch(stream, entries(1, 2, 3, 4), 1) for stream in (SERIES, OTHER)])
        middle = versions(log, SERIES)[1:3]
        assert rewrite(log, SERIES, collected(middle)) == Reclaimed(2, 0)
        assert starts(log.read(SERIES)) == [1, 4]
        assert starts(log.read(OTHER)) == [1, 2, 3, 4]

    def test_repeated_and_unknown_versions_are_passed_over(self, log: Log) -> None:
        newest = append(log, SERIES, entries(1, 2, 3))
        assert rewrite(log, SERIES, [newest, newest + 1000, newest]) == Reclaimed(1, 0)
        assert starts(log.read(SERIES)) == [1, 2]

    def test_a_range_may_have_steps_and_be_longer_than_the_stream(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2, 3, 4, 5, 6))
        first, last = min(versions(log, SERIES)), max(versions(log, SERIES))
        assert rewrite(log, SERIES, range(first, last, 2)).records == 3
        assert starts(log.read(SERIES)) == [2, 4, 6]
        assert rewrite(log, SERIES, range(last, 10**18)).records == 1
        assert starts(log.read(SERIES)) == [2, 4]
        assert rewrite(log, SERIES, range(last, first - 1, -1)).records == 2

    def test_a_long_list_of_versions(self, log: Log) -> None:
        append(log, SERIES, entries(*range(3000)))
        found = versions(log, SERIES)
        assert rewrite(log, SERIES, [version for version in found if version % 3]).records == 2000
        assert versions(log, SERIES) == [version for version in found if not version % 3]

    def test_what_is_put_takes_version_and_position_of_what_it_replaces(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2, 3), recorded=5)
        one, two, three = log.read(SERIES)
        put = Record(two.version, None, 4, -7, 70, "item", "op", b"data", b"meta")
        rewrite(log, SERIES, [two.version, three.version], [put])
        assert list(log.read(SERIES)) == [put._replace(position=two.position), one]
        assert log.last([SERIES])[0] == put._replace(position=two.position)
        assert list(log.read(SERIES, Query(start=70, end=70))) == [put._replace(position=two.position)]

    def test_what_is_put_is_found_by_its_new_span_only(self, log: Log) -> None:
        append(log, SERIES, [entry(0, 1000), entry(5)])
        long, short = log.read(SERIES)
        rewrite(log, SERIES, ALL, [long._replace(end=0), short._replace(start=0, end=2**62 + 5)])
        assert starts(log.read(SERIES, Query(start=1000, end=1000))) == [0]
        assert [record.version for record in log.read(SERIES, Query(start=1))] == [short.version]
        assert versions(log, SERIES) == [long.version, short.version]

    def test_many_records_are_put_lazily_and_in_any_order(self, log: Log) -> None:
        append(log, SERIES, entries(*range(MANY)))
        put = [record._replace(data=b"new") for record in log.read(SERIES, Query(start=300, reverse=True))]
        assert rewrite(log, SERIES, ALL, iter(put)).records == 300
        assert list(log.read(SERIES)) == put[::-1]

    def test_it_moves_the_version_on_by_one_and_that_is_the_floor(self, log: Log) -> None:
        newest = append(log, SERIES, entries(1, 2, 3))
        rewrite(log, SERIES, versions(log, SERIES)[:1])
        assert head_of(log, SERIES) == Head(SERIES, newest + 1, newest + 1, True)
        put = [record._replace(data=b"!") for record in log.read(SERIES)]
        rewrite(log, SERIES, ALL, put)
        assert head_of(log, SERIES) == Head(SERIES, newest + 2, newest + 2, True)
        rewrite(log, SERIES, live=False)
        assert head_of(log, SERIES) == Head(SERIES, newest + 3, newest + 3, False)

    def test_one_that_finds_nothing_to_change_does_nothing(self, log: Log) -> None:
        newest = append(log, SERIES, entries(1, 2))
        append(log, OTHER, entries(1), live=False)
        before = everything(log, SERIES, OTHER, EVENTS)
        assert log.rewrite([]) == Reclaimed(0, 0)
        assert rewrite(log, SERIES) == Reclaimed(0, 0)
        assert rewrite(log, SERIES, range(newest + 1, TIME_MAX)) == Reclaimed(0, 0)
        assert rewrite(log, SERIES, [newest + 1], live=True) == Reclaimed(0, 0)
        assert rewrite(log, OTHER, range(0), live=False) == Reclaimed(0, 0)
        assert rewrite(log, EVENTS, ALL, live=False) == rewrite(log, EVENTS, ALL, live=True) == Reclaimed(0, 0)
        assert everything(log, SERIES, OTHER, EVENTS) == before

    def test_a_stream_without_records_and_life_is_forgotten(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        append(log, OTHER, entries(1), live=False)
        rewrite(log, SERIES, ALL, live=False)
        rewrite(log, OTHER, ALL)  # was dead: needs not to be told
        assert log.head(SERIES) is log.head(OTHER) is None
        assert (list(log.heads(TS, live=False)), log.count(TS), list(log.follow())) == ([], 0, [])
        assert (log.last([SERIES]), list(log.read(SERIES)), log.replay(SERIES)) == ([None], [], None)

    def test_an_emptied_stream_that_lives_is_not_forgotten(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        rewrite(log, SERIES, ALL)
        assert keys(log.heads(TS)) == ["series"]
        rewrite(log, SERIES, live=False)
        assert log.head(SERIES) is None

    def test_live_none_leaves_it_as_it_was(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        append(log, OTHER, entries(1, 2), live=False)
        for stream in (SERIES, OTHER):
            rewrite(log, stream, versions(log, stream)[:1])
        assert (head_of(log, SERIES).live, head_of(log, OTHER).live) == (True, False)

    def test_it_can_end_and_restore_a_life(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        rewrite(log, SERIES, versions(log, SERIES)[:1], live=False)
        assert (keys(log.heads(TS)), log.count(TS)) == ([], 0)
        rewrite(log, SERIES, live=True)
        assert (keys(log.heads(TS)), log.count(TS)) == (["series"], 1)

    def test_what_is_put_counts_as_alive_after_an_earlier_death(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        append(log, SERIES, entries(3), live=False)
        append(log, SERIES, entries(4, 5))
        first = next(log.read(SERIES))
        rewrite(log, SERIES, ALL, [first._replace(start=4, end=5)])
        assert starts(log.read(SERIES, Query(alive=True))) == [4]
        append(log, SERIES, entries(6), live=False)
        append(log, SERIES, entries(7))
        assert starts(log.read(SERIES, Query(alive=True))) == [7]

    def test_dropping_does_not_revive_what_came_before_a_death(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        death = append(log, SERIES, entries(2), live=False)
        append(log, SERIES, entries(3))
        rewrite(log, SERIES, [death])
        assert starts(log.read(SERIES)) == [1, 3]
        assert starts(log.read(SERIES, Query(alive=True))) == [3]

    def test_a_conflict_changes_nothing_in_any_stream(self, log: Log) -> None:
        log.append([Batch(stream, entries(1, 2, 3), 1) for stream in (SERIES, OTHER)])
        before = everything(log, SERIES, OTHER)
        version = head_of(log, OTHER).version
        with pytest.raises(StoreConflictError) as raised:
            log.rewrite([Rewrite(SERIES, None, ALL, live=False), Rewrite(OTHER, version - 1, ALL, live=False)])
        error = raised.value
        assert (error.kind, error.key, error.expected, error.actual) == (TS, "other", version - 1, version)
        assert everything(log, SERIES, OTHER) == before

    def test_expecting_a_version_of_an_unknown_stream_conflicts_with_zero(self, log: Log) -> None:
        with pytest.raises(StoreConflictError) as raised:
            log.rewrite([Rewrite(SERIES, 4, ALL)])
        assert (raised.value.expected, raised.value.actual) == (4, 0)
        assert log.rewrite([Rewrite(SERIES, 0, ALL)]) == Reclaimed(0, 0)

    def test_records_that_fail_to_come_change_nothing_in_any_stream(self, log: Log) -> None:
        log.append([Batch(stream, entries(*range(MANY)), 1) for stream in (SERIES, OTHER)])
        before = everything(log, SERIES, OTHER)
        known = [record._replace(data=b"new") for record in log.read(OTHER)]

        def failing() -> Iterator[Record]:
            yield from known[:400]
            raise RuntimeError("the source of the records failed")

        with pytest.raises(RuntimeError, match="source of the records"):
            log.rewrite([Rewrite(SERIES, None, ALL, live=False), Rewrite(OTHER, None, ALL, failing())])
        assert everything(log, SERIES, OTHER) == before
        assert rewrite(log, OTHER, ALL, known) == Reclaimed(0, -3 * MANY)

    def test_several_streams_at_once(self, log: Log) -> None:
        log.append([Batch(stream, entries(1, 2, 3), 1) for stream in (SERIES, OTHER, EVENTS)])
        heads = [head_of(log, stream).version for stream in (SERIES, OTHER)]
        (first, *_) = versions(log, OTHER)
        saved = log.rewrite([Rewrite(SERIES, heads[0], ALL, live=False), Rewrite(OTHER, heads[1], [first])])
        assert saved.records == 4
        assert log.head(SERIES) is None
        assert starts(log.read(OTHER)) == [2, 3]
        assert starts(log.read(EVENTS)) == [1, 2, 3]

    def test_it_returns_records_and_bytes_of_what_was_taken_out(self, log: Log) -> None:
        append(log, SERIES, [entry(i, data=b"x" * i) for i in range(1, 5)])
        *_, last = log.read(SERIES)
        assert rewrite(log, SERIES, ALL, [last._replace(data=b"xx")]) == Reclaimed(3, 1 + 2 + 3 + 4 - 2)
        assert rewrite(log, SERIES, ALL, live=False) == Reclaimed(1, 2)
        assert Reclaimed(1, 2).plus(Reclaimed(10, 20)) == Reclaimed(11, 22)


def record(version: int, start: int = 0, *, recorded: int = 1, **options: Any) -> Record:
    return Record(version, None, recorded, *entry(start, **options))


def without_position(records: Iterable[Record | None]) -> list[Record | None]:
    return [found and found._replace(position=None) for found in records]


class TestRestore:
    KEY = Stream(KV, "key")

    def test_records_are_kept_as_they_are_elsewhere(self, log: Log) -> None:
        kept = [
            Record(3, None, 50, -5, 7, "item", "op", b"data", b"meta"),
            Record(9, None, 50, TIME_MIN, TIME_MAX, "", "remove", b"", None),
        ]
        log.restore([Copy(SERIES, 12, True, 3, kept)])
        assert without_position(sorted(log.read(SERIES))) == kept
        assert without_position(log.read(SERIES, Query(alive=True))) == kept[1:]
        head = head_of(log, SERIES)
        assert (head.version, head.live, head.died) == (12, True, 3)
        assert list(log.heads(TS)) == [head]
        assert log.count(TS) == 1
        assert without_position(log.last([SERIES, SERIES])) == [kept[-1]] * 2
        assert starts(log.read(SERIES, Query(start=9, end=9))) == [TIME_MIN]

    def test_writing_goes_on_above_the_version(self, log: Log) -> None:
        log.restore([Copy(stream, 12, True, 0, [record(2, 1), record(5, 2)]) for stream in (SERIES, self.KEY)])
        for stream in (SERIES, self.KEY):
            with pytest.raises(StoreConflictError):
                append(log, stream, entries(3), expect=5)
            first = append(log, stream, entries(3), expect=12)
            second = append(log, stream, entries(4, 5), expect=first)
            assert 12 < first < second
            assert rewrite(log, stream, [2], [record(2, 1, data=b"new")]) == Reclaimed(0, -3)
            assert rewrite(log, stream, [5]) == Reclaimed(1, 0)
            assert [(each.start, each.data) for each in log.read(stream)] == [(1, b"new"), (3, b""), (4, b""), (5, b"")]
            assert head_of(log, stream).version > second

    def test_positions_follow_the_order_in_which_records_are_given(self, log: Log) -> None:
        append(log, OTHER, entries(0))
        (before, *_), *_ = log.follow()
        streams = [Stream(TS, f"{number}") for number in range(7)]
        copies = [
            Copy(streams[number % 7], number + 1, True, 0, [record(number + 1, number)]) for number in range(MANY)
        ]
        log.restore(copies)
        found = list(log.follow(before))
        assert [(stream, each.start) for _, stream, each in found] == [
            (streams[number % 7], number) for number in range(MANY)
        ]
        assert all(a < b for (a, *_), (b, *_) in pairwise(found))
        append(log, streams[0], entries(9))
        assert [each.start for _, _, each in log.follow(found[-1][0])] == [9]

    def test_it_may_be_repeated_as_a_whole_and_go_on_half_way(self, log: Log) -> None:
        first = [Copy(SERIES, 2, True, 0, [record(1, 1), record(2, 2)]), Copy(self.KEY, 1, True, 0, [record(1)])]
        more = [
            *first,
            Copy(SERIES, 7, False, 4, [record(4, 4)]),
            Copy(self.KEY, 3, False, 3, [record(3, op="delitem")]),
        ]
        log.restore(first)
        log.restore(more)
        before = everything(log, SERIES, self.KEY)
        log.restore(first)
        log.restore(more)
        assert everything(log, SERIES, self.KEY) == before
        assert versions(log, SERIES) == [1, 2, 4]
        assert versions(log, self.KEY) == [1, 3]
        assert [head_of(log, stream)[1:2] + head_of(log, stream)[3:] for stream in (SERIES, self.KEY)] == [
            (7, False, 4),
            (3, False, 3),
        ]

    def test_what_has_gone_on_is_left_alone(self, log: Log) -> None:
        copies = [Copy(SERIES, 2, True, 0, [record(1, 1), record(2, 2)])]
        log.restore(copies)
        append(log, SERIES, entries(3), live=False)
        before = everything(log, SERIES)
        log.restore(copies)
        assert everything(log, SERIES) == before

    def test_a_head_alone_may_be_restored(self, log: Log) -> None:
        log.restore([Copy(SERIES, 4, True, 0, [record(4)]), Copy(OTHER, 9, True, 0), Copy(EVENTS, 3, False, 3)])
        log.restore([Copy(SERIES, 8, False, 4)])
        found = [(head.version, head.live, head.died) for head in map(log.head, (SERIES, OTHER, EVENTS)) if head]
        assert found == [(8, False, 4), (9, True, 0), (3, False, 3)]
        assert (log.count(TS), log.count(ES)) == (1, 0)
        assert append(log, OTHER, entries(1), expect=9) > 9

    def test_versions_far_above_all_that_were_given_out(self, log: Log) -> None:
        append(log, OTHER, entries(0))
        for version in (10_000, 1 << 30, (1 << 45) + 5, (1 << 45) + 9):
            stream = Stream(TS, f"{version}")
            log.restore([Copy(stream, version, True, 0, [record(version - 1)])])
            assert append(log, stream, entries(1), expect=version) > version
            assert rewrite(log, stream, ALL, live=False).records == 2
            assert append(log, stream, entries(2), expect=0) > version + 1  # no version of it is used again
            append(log, OTHER, entries(version))
        assert starts(log.read(OTHER)) == [0, 10_000, 1 << 30, (1 << 45) + 5, (1 << 45) + 9]
        assert len(list(log.follow())) == 9

    @pytest.mark.parametrize(
        ("copies", "error"),
        [
            ([Copy(OTHER, 2, True, 0, [record(2), record(1)])], ValueError),
            ([Copy(OTHER, 2, True, 0, [record(1, recorded=5), record(2, recorded=4)])], ValueError),
            ([Copy(OTHER, 1, True, 0, [record(2)])], ValueError),
            ([Copy(OTHER, 1, True, 2, [record(1)])], ValueError),
            ([Copy(OTHER, 0, True, 0, [record(0)])], ValueError),
            ([Copy(OTHER, 3, True, 0), Copy(OTHER, 4, True, 0, [record(3)])], ValueError),
            ([Copy(OTHER, VERSION_MAX + 1, True, 0)], StoreError),
        ],
    )
    def test_what_no_log_can_have_is_refused_before_anything_is_written(
        self, log: Log, copies: list[Copy], error: type[Exception]
    ) -> None:
        with pytest.raises(error, match="other"):
            log.restore([Copy(SERIES, 1, True, 0, [record(1)]), *copies])
        assert list(log.follow()) == []
        assert log.head(SERIES) is None

    def test_large_ones(self, log: Log) -> None:
        data = [bytes([number]) * 3_000_000 for number in range(6)]
        kept = [record(number + 1, number, data=each) for number, each in enumerate(data)]
        log.restore([Copy(SERIES, 6, False, 6, kept), Copy(OTHER, 1, True, 0, kept[:1])])
        assert [each.data for each in log.read(SERIES)] == data
        assert [(stream, each.start) for _, stream, each in log.follow()] == [
            *((SERIES, n) for n in range(6)),
            (OTHER, 0),
        ]
        assert head_of(log, SERIES).died == 6


class TestVacuum:
    def test_it_changes_nothing_that_can_be_read(self, log: Log) -> None:
        append(log, SERIES, [entry(i, data=bytes(1000)) for i in range(MANY)])
        append(log, OTHER, entries(1), live=False)
        rewrite(log, SERIES, versions(log, SERIES)[::2])
        before = everything(log, SERIES, OTHER)
        log.vacuum()
        assert everything(log, SERIES, OTHER) == before
        checkpoint = before[-1][-1][0]  # type: ignore[index]
        append(log, SERIES, entries(7))
        assert [record.start for _, _, record in log.follow(checkpoint)] == [7]

    def test_an_empty_log_can_be_vacuumed(self, log: Log) -> None:
        log.vacuum()
        assert append(log, SERIES, entries(1), expect=0) == head_of(log, SERIES).version


class TestFollow:
    def test_large_records_after_small_ones_are_not_all_held_at_once(self, log: Log) -> None:
        """Neither those of many streams nor those of a key, the newest of which some backends keep apart."""
        keys = [Stream(KV, f"k{number}") for number in range(20)]
        log.append([Batch(SERIES, entries(*range(300)), 1)])
        for key in [*keys, *[keys[0]] * 20]:
            append(log, key, [entry(data=os.urandom(1 << 20))])
        tracemalloc.start()
        try:
            assert sum(1 for _ in log.follow()) == 340
            assert tracemalloc.get_traced_memory()[1] < 30 << 20
        finally:
            tracemalloc.stop()

    def test_an_empty_log_has_nothing_to_follow(self, log: Log) -> None:
        assert list(log.follow()) == []

    def test_everything_acknowledged_in_order_of_position(self, log: Log) -> None:
        for number in range(5):
            append(log, SERIES, entries(10 - number, number))
            log.append([Batch(EVENTS, entries(number), 1), Batch(OTHER, entries(number), 1, live=False)])
        found = list(log.follow())
        assert all(a < b for (a, *_), (b, *_) in pairwise(found))
        assert all(position == record.position for position, _, record in found)
        for stream in (SERIES, EVENTS, OTHER):
            own = [record for _, of, record in found if of == stream]
            assert own == sorted(log.read(stream))
        assert len(found) == 20

    def test_earlier_appends_come_before_later_ones(self, log: Log) -> None:
        for number in range(30):
            append(log, [SERIES, OTHER, EVENTS][number % 3], entries(number))
        assert [record.start for _, _, record in log.follow()] == list(range(30))

    def test_it_goes_on_after_any_position(self, log: Log) -> None:
        for number in range(9):
            append(log, [SERIES, OTHER][number % 2], entries(number))
        found = list(log.follow())
        for index, (position, *_) in enumerate(found):
            assert list(log.follow(position)) == found[index + 1 :]

    def test_a_checkpoint_holds_though_what_it_names_was_pruned(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2, 3, 4))
        found = list(log.follow())
        rewrite(log, SERIES, [found[1][2].version, found[2][2].version])
        assert [record.start for _, _, record in log.follow(found[1][0])] == [4]
        assert [record.start for _, _, record in log.follow(found[2][0])] == [4]

    @pytest.mark.parametrize("live", [None, False])
    def test_nothing_is_skipped_after_the_end_of_the_log_was_pruned(self, log: Log, live: bool | None) -> None:
        append(log, OTHER, entries(0))
        append(log, SERIES, entries(1, 2, 3))
        *_, (checkpoint, _, _) = log.follow()
        rewrite(log, SERIES, ALL, live=live)
        log.vacuum()
        append(log, OTHER, entries(4))
        append(log, SERIES, entries(5))
        assert [record.start for _, _, record in log.follow(checkpoint)] == [4, 5]

    def test_nothing_is_skipped_after_a_replacement(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2, 3))
        *_, (checkpoint, _, _) = log.follow()
        append(log, SERIES, entries(4), replace=True)
        assert [record.start for _, _, record in log.follow(checkpoint)] == [4]

    def test_what_is_rewritten_is_not_seen_as_new(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2, 3))
        append(log, OTHER, entries(9))
        before = list(log.follow())
        put = [record._replace(data=b"new") for _, stream, record in before if stream == SERIES]
        rewrite(log, SERIES, ALL, put[1:])
        assert list(log.follow(before[-1][0])) == []
        after = list(log.follow())
        assert [(position, record.data) for position, _, record in after] == [
            (before[1][0], b"new"),
            (before[2][0], b"new"),
            (before[3][0], b""),
        ]

    def test_it_may_be_followed_while_the_log_is_written_to(self, log: Log) -> None:
        append(log, SERIES, entries(*range(MANY)))
        seen = []
        for number, (position, _, record) in enumerate(log.follow()):
            seen.append((position, record.start))
            if number % 100 == 0 and number < MANY:
                append(log, OTHER, entries(MANY + number))
        seen += [(position, record.start) for position, _, record in log.follow(seen[-1][0])]
        assert [start for _, start in seen] == [*range(MANY), *range(MANY, 2 * MANY, 100)]

    def test_a_tailing_follower_sees_each_record_of_racing_writers_once(self, log: Log) -> None:
        acknowledged: list[tuple[Stream, int]] = []
        done = threading.Event()
        seen: list[tuple[Stream, int]] = []

        def write(writer: int) -> None:
            for number in range(25):
                stream = Stream(TS, f"s{(writer + number) % 3}")
                acknowledged.append((stream, append(log, stream, entries(writer))))

        def tail() -> None:
            checkpoint = None
            while True:
                last_round = done.is_set()
                for position, stream, record in log.follow(checkpoint):
                    checkpoint = position
                    seen.append((stream, record.version))
                if last_round:
                    return

        with ThreadPoolExecutor(5) as pool:
            follower = pool.submit(tail)
            try:
                list(pool.map(write, range(4)))
            finally:
                done.set()
            follower.result()
        assert len(acknowledged) == 100
        assert sorted(seen) == sorted(acknowledged)


class TestDiscard:
    def test_nothing_is_left_and_the_next_write_makes_it_anew(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        append(log, OTHER, entries(1), live=False)
        log.discard()
        assert everything(log, SERIES, OTHER) == [[[], []], [[], []], [None, None], [(0, [], [])], []]
        assert (log.last([SERIES, OTHER]), log.replay(SERIES)) == ([None, None], None)
        append(log, SERIES, entries(3), expect=0)
        assert starts(log.read(SERIES)) == [3]
        assert (log.count(TS), keys(log.heads(TS))) == (1, ["series"])

    def test_only_its_own_namespace_goes(self, backend: Backend) -> None:
        mine, yours = backend.log("mine"), backend.log("yours")
        for log in (mine, yours):
            append(log, SERIES, entries(1, 2))
        before = everything(yours, SERIES)
        mine.discard()
        assert everything(yours, SERIES) == before
        assert mine.head(SERIES) is None
        append(yours, SERIES, entries(3))
        assert starts(yours.read(SERIES)) == [1, 2, 3]

    def test_it_is_gone_for_all_who_have_it_open(self, backend: Backend) -> None:
        log, other = backend.log(), backend.log()
        append(log, SERIES, entries(1))
        assert starts(other.read(SERIES)) == [1]
        log.discard()
        assert other.head(SERIES) is None
        append(other, SERIES, entries(2), expect=0)
        assert starts(log.read(SERIES)) == [2]
        assert log.count(TS) == other.count(TS) == 1

    def test_a_discarded_namespace_is_not_there_for_a_frozen_log_until_the_next_write(self, backend: Backend) -> None:
        log = backend.log()
        append(log, SERIES, entries(1))
        log.discard()
        with pytest.raises(StoreNotAvailableError):
            backend.log(frozen=True)
        append(log, SERIES, entries(2))
        assert starts(backend.log(frozen=True).read(SERIES)) == [2]

    def test_it_may_be_repeated(self, log: Log) -> None:
        for number in range(3):
            append(log, SERIES, entries(number), expect=0)
            log.discard()
        log.discard()
        assert list(log.follow()) == []

    def test_a_follower_with_the_log_open_misses_nothing_after_it(self, backend: Backend) -> None:
        log, follower = backend.log(), backend.log()
        append(log, SERIES, entries(1, 2, 3))
        *_, (checkpoint, _, _) = follower.follow()
        log.discard()
        append(log, SERIES, entries(4))
        assert [record.start for _, _, record in follower.follow(checkpoint)] == [4]


def own(backend: Backend, log: Log) -> list[str]:
    """Return the names of the namespaces that this test has made, among those of others on the same server."""
    connect: Any = backend.connect
    prefix = f"{connect._prefix} " if isinstance(connect, Apart) else ""
    return [name.removeprefix(prefix) for name in log.namespaces() if name.startswith(prefix)]


class TestNamespaces:
    def test_all_of_a_backend_are_listed_in_code_point_order(self, backend: Backend) -> None:
        names = ["b", "a", "%2F", "a:0}:x", "{*}?", "Z", "é", "\U0010ffff", "\uffff", "a/b"]
        logs = [backend.log(name) for name in names]
        append(
            logs[0], Stream(KV, "x:0}:meta"), entries(1, 2)
        )  # what looks like another one where keys are found by name
        append(logs[0], Stream(KV, "a:0}:meta"), entries(0, 0))

        for log in (logs[1], backend.log("a", frozen=True)):
            assert log.namespaces() == sorted(log.namespaces())
            assert own(backend, log) == sorted(names)

    def test_one_that_was_discarded_is_not_listed_until_it_is_written_to(self, backend: Backend) -> None:
        log, other = backend.log("gone"), backend.log("other")
        append(log, SERIES, entries(1))
        log.discard()
        assert own(backend, other) == ["other"]
        append(log, SERIES, entries(1))
        assert own(backend, other) == ["gone", "other"]

    @pytest.mark.parametrize("names", [("a", "b"), ("a", "A"), ("a", "a%"), ("__", "_"), ("x:y", "x"), ("😀", "😀😀")])
    def test_they_do_not_see_each_other(self, backend: Backend, names: tuple[str, str]) -> None:
        one, two = map(backend.log, names)
        append(one, SERIES, [entry(1, data=b"one"), entry(2)])
        append(one, OTHER, entries(1))
        assert everything(two, SERIES, OTHER) == [[[], []], [[], []], [None, None], [(0, [], [])], []]
        append(two, SERIES, [entry(1, data=b"two")], expect=0, live=False)
        rewrite(two, OTHER, ALL, live=False)
        assert [record.data for record in one.read(SERIES)] == [b"one", b""]
        assert [record.data for record in two.read(SERIES)] == [b"two"]
        assert (one.count(TS), two.count(TS)) == (2, 0)
        assert [stream for _, stream, _ in two.follow()] == [SERIES]
        assert [record.data for record in two.last([SERIES, SERIES]) if record] == [b"two", b"two"]

    def test_logs_of_one_namespace_share_everything(self, backend: Backend) -> None:
        one, two = backend.log("same"), backend.log("same")
        version = append(one, SERIES, entries(1))
        assert append(two, SERIES, entries(2), expect=version) == version + 1
        assert everything(one, SERIES) == everything(two, SERIES)
        assert starts(one.read(SERIES)) == [1, 2]


CALLS: dict[str, Callable[[Log], object]] = {
    "append": lambda log: append(log, SERIES, entries(9)),
    "append one of a new stream": lambda log: append(log, OTHER, iter(entries(9))),
    "append nothing": lambda log: log.append([]),
    "read": lambda log: list(log.read(SERIES)),
    "read unknown": lambda log: list(log.read(OTHER)),
    "replay": lambda log: log.replay(SERIES),
    "last": lambda log: log.last([SERIES]),
    "last of many": lambda log: log.last([SERIES, OTHER, EVENTS]),
    "last of none": lambda log: log.last([]),
    "head": lambda log: log.head(SERIES),
    "heads": lambda log: list(log.heads(TS)),
    "count": lambda log: log.count(TS),
    "rewrite": lambda log: rewrite(log, SERIES, ALL, live=False),
    "rewrite nothing": lambda log: log.rewrite([]),
    "restore": lambda log: log.restore([Copy(OTHER, 1, True, 0, [Record(1, None, 1, *entry(1))])]),
    "restore nothing": lambda log: log.restore([]),
    "vacuum": lambda log: log.vacuum(),
    "namespaces": lambda log: log.namespaces(),
    "follow": lambda log: list(log.follow()),
}

ITERATORS: dict[str, Callable[[Log], Iterator[Any]]] = {
    "read": lambda log: log.read(SERIES),
    "heads": lambda log: log.heads(TS),
    "follow": lambda log: log.follow(),
}


class TestOpenAndClose:
    def test_a_closed_log_says_so(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        log.close()
        for name, call in CALLS.items():
            with case(name), pytest.raises(StoreClosedError):
                call(log)
        log.open()
        assert starts(log.read(SERIES)) == [1]
        assert log.head(OTHER) is None

    @in_turn("call", CALLS)
    def test_a_log_that_was_never_opened_says_so(self, backend: Backend, call: str) -> None:
        with pytest.raises(StoreClosedError):
            CALLS[call](backend.connect("default", False))

    @pytest.mark.parametrize("call", CALLS)
    def test_the_same_calls_work_while_it_is_open(self, log: Log, call: str) -> None:
        append(log, SERIES, entries(1))
        CALLS[call](log)

    def test_what_was_written_is_there_after_reopening(self, log: Log) -> None:
        append(log, SERIES, [entry(1, 9, item="i", data=b"\0\xff", meta=b"m")])
        append(log, OTHER, entries(1), live=False)
        before = everything(log, SERIES, OTHER)
        log.close()
        log.open()
        assert everything(log, SERIES, OTHER) == before
        append(log, SERIES, entries(2), expect=head_of(log, SERIES).version)
        assert starts(log.read(SERIES)) == [1, 2]

    def test_closing_twice_and_closing_what_was_never_open_is_harmless(self, backend: Backend) -> None:
        log = backend.connect("default", False)
        log.close()
        log.open()
        append(log, SERIES, entries(1))
        log.close()
        log.close()
        assert starts(backend.log().read(SERIES)) == [1]

    @pytest.mark.parametrize("number", [3, MANY])
    @pytest.mark.parametrize("name", ITERATORS)
    def test_an_iterator_that_is_still_read_ends_with_a_store_error(self, log: Log, name: str, number: int) -> None:
        log.append([Batch(Stream(TS, f"s{i:03}"), entries(i), 1) for i in range(number)])
        append(log, SERIES, entries(*range(number)))
        iterator = ITERATORS[name](log)
        next(iterator)
        log.close()
        with pytest.raises(StoreError):
            list(iterator)

    def test_closing_one_log_leaves_others_open(self, backend: Backend) -> None:
        one, two = backend.log(), backend.log()
        append(one, SERIES, entries(1))
        one.close()
        append(two, SERIES, entries(2))
        assert starts(two.read(SERIES)) == [1, 2]

    def test_the_name_can_be_asked_for_at_any_time(self, backend: Backend) -> None:
        log = backend.connect("default", False)
        name = log.name
        assert "://" in name
        log.open()
        assert log.name == name
        log.close()
        assert log.name == name

    def test_connecting_alone_creates_nothing(self, backend: Backend, tmp_path: Path) -> None:
        backend.connect("default", False)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(StoreNotAvailableError):
            backend.log(frozen=True)


class TestFrozen:
    def test_a_missing_namespace_is_an_error_and_nothing_is_created(self, backend: Backend, tmp_path: Path) -> None:
        for _ in range(2):
            with pytest.raises(StoreNotAvailableError):
                backend.log("missing", frozen=True)
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_namespace_beside_others_is_an_error_and_is_not_created(self, backend: Backend) -> None:
        append(backend.log("there"), SERIES, entries(1))
        for _ in range(2):
            with pytest.raises(StoreNotAvailableError, match="missing"):
                backend.log("missing", frozen=True)

    def test_a_log_that_could_not_be_opened_is_closed(self, backend: Backend) -> None:
        log = backend.connect("missing", True)
        with pytest.raises(StoreNotAvailableError):
            log.open()
        with pytest.raises(StoreClosedError):
            log.head(SERIES)

    def test_opening_for_writing_creates_the_namespace(self, backend: Backend) -> None:
        backend.log("new")
        assert list(backend.log("new", frozen=True).follow()) == []

    def test_it_reads_what_a_writer_writes_before_and_after_it_was_opened(self, backend: Backend) -> None:
        writer = backend.log()
        append(writer, SERIES, entries(1))
        reader = backend.log(frozen=True)
        assert everything(reader, SERIES, OTHER) == everything(writer, SERIES, OTHER)
        log_version = append(writer, SERIES, [entry(2, 2**50)])
        append(writer, OTHER, entries(1))
        rewrite(writer, SERIES, [log_version - 1])
        assert everything(reader, SERIES, OTHER) == everything(writer, SERIES, OTHER)
        assert starts(reader.read(SERIES)) == [2]

    def test_it_can_be_opened_once_the_namespace_is_there(self, backend: Backend) -> None:
        reader = backend.connect("late", True)
        with pytest.raises(StoreNotAvailableError):
            reader.open()
        append(backend.log("late"), SERIES, entries(1))
        reader.open()
        assert starts(reader.read(SERIES)) == [1]
        reader.close()


class TestSharing:
    def test_threads_read_and_write_at_once(self, log: Log) -> None:
        def work(number: int) -> tuple[list[int], list[int]]:
            own = Stream(TS, f"own{number}")
            for i in range(10):
                log.append([Batch(own, entries(i), 1), Batch(SERIES, entries(number), 1)])
            return starts(log.read(own)), versions(log, SERIES)

        with ThreadPoolExecutor(5) as pool:
            found = list(pool.map(work, range(5)))
        assert [own for own, _ in found] == [list(range(10))] * 5
        assert len(set(versions(log, SERIES))) == 50
        assert starts(log.read(SERIES)) == sorted(list(range(5)) * 10)

    def test_a_reader_never_sees_half_an_append(self, log: Log) -> None:
        done = threading.Event()

        def write() -> None:
            try:
                for number in range(30):
                    append(log, SERIES, entries(number, number, number), live=number % 2 == 0)
            finally:
                done.set()

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            while not done.is_set():
                assert len(list(log.read(SERIES))) % 3 == 0
                head = log.head(SERIES)
                assert (head.version - head.floor) % 3 == 0 if head else True
            writer.result()
        assert len(list(log.read(SERIES))) == 90

    def test_an_iterator_may_be_handed_to_another_thread(self, log: Log) -> None:
        append(log, SERIES, entries(*range(MANY)))
        reading = log.read(SERIES)
        first = next(reading)
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(list, reading).result()
        assert starts([first, *rest]) == list(range(MANY))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_log_may_be_used_after_fork_by_both_sides(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        child = os.fork()
        if not child:
            try:
                append(log, OTHER, entries(2))
                os._exit(0 if (starts(log.read(SERIES)), starts(log.read(OTHER))) == ([1], [2]) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        append(log, SERIES, entries(3))
        assert starts(log.read(SERIES)) == [1, 3]


# -- properties: the log against a naive model ------------------------------------------------------------------------

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
        stream = Stream(kind, f"{log.count(kind)}-{len(list(log.heads(kind, live=False)))}")
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
        model = Model()
        for _ in range(data.draw(st.integers(1, 8))):
            if data.draw(st.booleans(), "append?"):
                added, recorded = data.draw(st.lists(made_entries(), max_size=4)), data.draw(st.integers(0, 9))
                live, replace = data.draw(st.booleans()), data.draw(st.booleans())
                before = model.version if model.known else 0
                newest = append(log, SERIES, added, recorded=recorded, live=live, replace=replace, expect=before)
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
                saved = rewrite(log, SERIES, drop, put, live_after)
                assert saved == model.rewrite(set(drop), put, live_after)
            self.agree(log, model)
        log.discard()
        log.close()

    @staticmethod
    def agree(log: Log, model: Model) -> None:
        head = log.head(SERIES)
        assert (head is not None) == model.known
        assert log.count(TS) == model.live == len(list(log.heads(TS)))
        if head is not None:
            assert (head.version, head.live) == (model.version, model.live)
            assert head.floor <= head.version
        for query in ({}, {"alive": True}, {"reverse": True, "limit": 3}, {"span": (0, 9)}, {"until": 4}, {"after": 3}):
            found = [record._replace(position=None) for record in asked(log, SERIES, query)]
            assert found == naive(model.records, model.died, query)
        followed = [record for _, _, record in log.follow()]
        by_version = sorted(model.records, key=lambda record: record.version)
        assert [record._replace(position=None) for record in followed] == by_version
        assert log.last([SERIES]) == (followed[-1:] or [None])

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
            lambda of: [of.count(kind) for kind in (KV, TS, ES)],
            lambda of: [(stream, each._replace(position=None)) for _, stream, each in of.follow()],
            lambda of: [found and without_position(found.records) for found in map(of.replay, streams[-2:])],
        ):
            assert shown(log) == shown(source)
        for head in heads:
            assert append(log, head.stream, entries(1), expect=head.version) > head.version
        log.discard()
        log.close()


NUMBERS = count()


class Model:
    """One stream as a list of records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.version = self.died = self.highest = 0
        self.live = self.known = False

    def append(self, newest: int, added: list[Entry], recorded: int, live: bool, replace: bool) -> None:
        first = newest - len(added) + 1
        assert first == self.version + 1 if self.known else first > self.highest
        if self.records:
            recorded = max(recorded, max(self.records).recorded)
        if replace:
            self.records = []
        self.records += [Record(version, None, recorded, *new) for version, new in enumerate(added, first)]
        self.version = newest
        self.highest = max(self.highest, newest)
        self.live, self.known = live, True
        self.died = self.died if live else newest

    def rewrite(self, drop: set[int], put: list[Record], live: bool | None) -> Reclaimed:
        if not self.known:
            return Reclaimed(0, 0)
        gone = [record for record in self.records if record.version in drop]
        live = self.live if live is None else live
        if gone or live != self.live:
            self.version += 1
            self.highest = max(self.highest, self.version)
        self.records = [record for record in self.records if record.version not in drop] + put
        self.died = min([self.died, *(record.version - 1 for record in put)])
        self.live = live
        if not (self.records or live):
            self.known, self.died = False, 0
        size = sum(len(record.data) for record in gone) - sum(len(record.data) for record in put)
        return Reclaimed(len(gone) - len(put), size)


class TestWait:
    def test_there_is_something_already(self, log: Log) -> None:
        append(log, SERIES, entries(0))
        assert log.wait(None, 60)
        (position, *_), *_ = log.follow()
        append(log, OTHER, entries(0))
        assert log.wait(position, 60)

    def test_nothing_comes(self, backend: Backend) -> None:
        log = backend.log()
        append(log, SERIES, entries(0))
        position = list(log.follow())[-1][0]
        woken = log.wait(position, 0.05)
        # on PostgreSQL whatever is written, in any namespace, is a reason to look
        assert not woken or backend.name == "postgresql"
        assert list(log.follow(position)) == []

    def test_something_comes(self, backend: Backend) -> None:
        log, other = backend.log(), backend.log()
        append(log, SERIES, entries(0))
        for number in range(3):
            position = list(log.follow())[-1][0]
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(log.wait, position, 20)
                append(other, OTHER, entries(number))
                assert waiting.result()
            assert len(list(log.follow(position))) == 1

    def test_of_a_frozen_log(self, backend: Backend) -> None:
        append(backend.log(), SERIES, entries(0))
        assert backend.log(frozen=True).wait(None, 20)

    def test_it_ends_when_the_log_is_closed(self, backend: Backend) -> None:
        log = backend.log()
        log.close()
        with pytest.raises(StoreClosedError):
            log.wait(None, 20)


class TestCheckpoints:
    def test_a_position_comes_back_from_its_text(self, log: Log) -> None:
        for number in range(5):
            log.append([Batch(Stream(KV, f"{number}{key}"), [entry()], 1) for key in "abc"])
        found = list(log.follow())
        for index, (position, *_) in enumerate(found):
            checkpoint = log.checkpoint(position)
            assert isinstance(checkpoint, str)
            assert list(log.follow(log.position(checkpoint))) == found[index + 1 :]

    @pytest.mark.parametrize("text", ["", "x", "1,2", "-1", "1.2.3.4", " 1", "\u0661"])
    def test_another_text_is_refused(self, log: Log, text: str) -> None:
        with pytest.raises(ValueError, match="is no checkpoint of this kind of store"):
            log.position(text)

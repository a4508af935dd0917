"""What a read promises: the records that a query matches, in order, as they were when it began."""

from __future__ import annotations

from itertools import islice, product

import pytest

from rstore.domain.as_of import AsOf
from rstore.domain.log import Batch, Log, Query
from rstore.domain.spans import TIME_MAX, TIME_MIN, TOP_LEVEL, level
from rstore.domain.streams import KV, TS, Stream
from rstore.domain.transaction import Transaction
from tests.conftest import case, in_turn
from tests.contract.conftest import (
    ALL,
    EVENTS,
    KEY,
    MANY,
    OTHER,
    SERIES,
    append,
    entries,
    entry,
    rewrite,
    starts,
    versions,
)

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

    @in_turn("stream", [SERIES, KEY, EVENTS])
    def test_of_long_payloads_the_beginning_may_be_all(self, log: Log, stream: Stream) -> None:
        """A log may ignore it. Short payloads are whole, and so is everything else about a record."""
        payloads = [b"", b"short", bytes(range(256)) * 40, bytes(range(256)) * 200]
        for at, data in enumerate(payloads):
            append(log, stream, [entry(at, at if stream == EVENTS else at + 5, data=data, meta=b"m" * 9_000)])
        queries = (Query(), Query(after=1), Query(start=1, end=3, limit=2, reverse=True), Query(until=1, alive=True))
        for each in (log, AsOf(log, 1), Transaction(log)):
            whole = list(each.read(stream))
            assert [record.data for record in whole] == payloads
            for most, query in product((0, 5, 1000, 10_240, 20_000, 60_000), queries):
                found, expected = each.read(stream, query._replace(most=most)), each.read(stream, query)
                for record, known in zip(found, expected, strict=True):
                    assert record._replace(data=known.data) == known
                    assert record.data in (known.data, known.data[:most])
            assert list(each.read(stream)) == whole

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

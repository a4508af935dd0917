"""What an append promises: all batches or nothing, at one time, if the streams are where the writer expects them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Entry, Head, Log, Query, Record
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, SS, TS, Stream
from tests.contract.conftest import (
    EVENTS,
    MANY,
    OTHER,
    SERIES,
    append,
    entries,
    entry,
    everything,
    head_of,
    keys,
    rewrite,
    starts,
    versions,
)


def broken(*before: Entry) -> Iterator[Entry]:
    yield from before
    raise RuntimeError("the source of the entries failed")


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
            assert log.counts([stream.kind])[0] == 1

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
        assert head_of(log, SERIES)[1:3] == (after, after)  # what was folded before is of no more use
        assert starts(log.read(OTHER)) == [1]
        alone = append(log, SERIES, entries(6), replace=True)
        assert head_of(log, SERIES)[1:3] == (alone, alone)

    def test_replace_by_more_than_is_sent_at_once(self, log: Log) -> None:
        append(log, SERIES, entries(0))
        append(log, SERIES, [entry(n, data=os.urandom(3 << 20)) for n in (1, 2, 3)], replace=True)
        assert starts(log.read(SERIES)) == [1, 2, 3]

    def test_an_ended_stream_is_not_replaced_if_it_has_to_live(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        append(log, SERIES, entries(3), live=False)
        before = everything(log, SERIES)
        append(log, SERIES, entries(4), replace=True, if_live=True)
        log.append([Batch(stream, entries(4), 1, replace=True, if_live=True) for stream in (SERIES, OTHER)])
        assert everything(log, SERIES) == before

    def test_replace_by_nothing_empties_the_stream_and_keeps_its_version(self, log: Log) -> None:
        before = append(log, SERIES, entries(1, 2))
        assert append(log, SERIES, [], replace=True) == before
        assert head_of(log, SERIES)[1:3] == (before, before)
        assert list(log.read(SERIES)) == []
        assert append(log, SERIES, entries(3)) > before

    def test_replace_works_on_a_new_stream(self, log: Log) -> None:
        append(log, SERIES, entries(4), replace=True)
        assert starts(log.read(SERIES)) == [4]

    def test_a_batch_without_entries_may_end_and_restore_a_life(self, log: Log) -> None:
        version = append(log, SERIES, entries(1))
        assert append(log, SERIES, [], live=False) == version
        assert (head_of(log, SERIES).live, log.counts([TS])[0]) == (False, 0)
        assert append(log, SERIES, []) == version
        assert (head_of(log, SERIES).live, log.counts([TS])[0]) == (True, 1)
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
        assert (list(log.heads(TS, live=False)), log.counts([TS])[0], log.last([SERIES])) == ([], 0, [None])

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
        assert log.counts([TS])[0] == options.get("live", True)

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

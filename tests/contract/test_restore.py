"""What a restore promises: records as another log has them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from rstore.domain.errors import StoreConflictError, StoreError
from rstore.domain.log import VERSION_MAX, Copy, Head, Log, Query, Reclaimed, Record
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, TS, Stream
from tests.contract.conftest import (
    ALL,
    EVENTS,
    MANY,
    OTHER,
    SERIES,
    append,
    entries,
    entry,
    everything,
    head_of,
    rewrite,
    starts,
    versions,
    without_position,
)


def record(version: int, start: int = 0, *, recorded: int = 1, **options: Any) -> Record:
    return Record(version, None, recorded, *entry(start, **options))


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
        assert log.counts([TS])[0] == 1
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
        assert [head_of(log, stream)[1:2] + head_of(log, stream)[3:5] for stream in (SERIES, self.KEY)] == [
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

    def test_a_head_of_the_version_that_is_there_leaves_the_floor(self, log: Log) -> None:
        log.restore([Copy(SERIES, 2, True, 0, [record(1), record(2)])])
        version = append(log, SERIES, entries(3))
        log.restore([Copy(SERIES, version, False, version)])
        assert head_of(log, SERIES) == Head(SERIES, version, 2, False, version)

    def test_a_head_alone_may_be_restored(self, log: Log) -> None:
        log.restore([Copy(SERIES, 4, True, 0, [record(4)]), Copy(OTHER, 9, True, 0), Copy(EVENTS, 3, False, 3)])
        log.restore([Copy(SERIES, 8, False, 4)])
        found = [(head.version, head.live, head.died) for head in map(log.head, (SERIES, OTHER, EVENTS)) if head]
        assert found == [(8, False, 4), (9, True, 0), (3, False, 3)]
        assert (log.counts([TS])[0], log.counts([ES])[0]) == (1, 0)
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

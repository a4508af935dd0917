"""What a rewrite promises: records go, others take their place. And a vacuum: nothing is lost with the space."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

import pytest

from rstore.domain.errors import StoreConflictError
from rstore.domain.log import ALL_VERSIONS, Batch, Head, Log, Query, Reclaimed, Record, ReplayQuery, Rewrite
from rstore.domain.spans import TIME_MAX
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
    keys,
    rewrite,
    starts,
    versions,
)


def forgotten(stream: Stream, expect: int | None = None) -> Rewrite:
    return Rewrite(stream, expect, ALL_VERSIONS, live=False)


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

    def test_with_bump_version_false_version_and_floor_stay(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2, 3))
        before = head_of(log, SERIES)
        first, second, _ = log.read(SERIES)
        log.rewrite([Rewrite(SERIES, None, [first.version], bump_version=False)])
        log.rewrite([Rewrite(SERIES, None, [second.version], [second._replace(data=b"!")], bump_version=False)])
        assert [(record.start, record.data) for record in log.read(SERIES)] == [(2, b"!"), (3, b"")]
        assert head_of(log, SERIES) == before

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
        assert (list(log.heads(TS, live=False)), log.counts([TS])[0], list(log.follow())) == ([], 0, [])
        assert (log.last([SERIES]), list(log.read(SERIES)), log.replay([ReplayQuery(SERIES)])) == ([None], [], [None])

    def test_also_one_that_an_append_has_left_without_both(self, log: Log) -> None:
        append(log, SERIES, entries(1))
        append(log, SERIES, [], live=False, replace=True)
        assert head_of(log, SERIES).live is False
        assert rewrite(log, SERIES) == Reclaimed(0, 0)
        assert log.head(SERIES) is None

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

    def test_a_dropped_record_dates_no_later_append(self, log: Log) -> None:
        append(log, SERIES, entries(1), recorded=10)
        last = append(log, SERIES, entries(2), recorded=30)
        rewrite(log, SERIES, [last])
        append(log, SERIES, entries(3), recorded=20)
        assert [record.recorded for record in log.read(SERIES)] == [10, 20]

    def test_it_can_end_and_restore_a_life(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        rewrite(log, SERIES, versions(log, SERIES)[:1], live=False)
        assert (keys(log.heads(TS)), log.counts([TS])[0]) == ([], 0)
        rewrite(log, SERIES, live=True)
        assert (keys(log.heads(TS)), log.counts([TS])[0]) == (["series"], 1)

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

    def test_what_is_put_for_a_record_that_has_gone_is_passed_over_or_conflicts(self, log: Log) -> None:
        append(log, SERIES, [entry(1, data=b"one"), entry(2, data=b"two")])
        append(log, SERIES, entries(3), live=False)
        append(log, SERIES, entries(4))
        first, second, *_ = log.read(SERIES)
        rewrite(log, SERIES, [first.version])
        with suppress(StoreConflictError):
            found = rewrite(log, SERIES, [first.version, second.version], [first._replace(data=b"new", end=9)])
            assert found == Reclaimed(1, 3)
        assert 1 not in starts(log.read(SERIES))
        assert starts(log.read(SERIES, Query(alive=True))) == [4]

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

    def test_many_streams_are_forgotten_at_once_as_each_by_itself(self, log: Log) -> None:
        def stored(name: str) -> list[Stream]:
            own = [Stream(kind, f"{name} {number}") for number in range(4) for kind in (KV, TS, ES)]
            for number, stream in enumerate(own):
                append(log, stream, [entry(data=bytes(nth)) for nth in range((1, 2, 150)[number % 4 % 3])])
                append(log, stream, [entry(data=b"last")], replace=number > 8)
            append(log, own[0], [entry(op="delitem")], live=False)
            append(log, own[1], entries(1, 2), live=False)
            return own

        each, together, kept = stored("each"), stored("together"), stored("kept")
        before, newest = everything(log, *kept)[:3], max(position for position, _, _ in log.follow())
        last = {stream: head_of(log, stream).version for stream in together}
        expected = sum((log.rewrite([forgotten(stream)]) for stream in each), start=())
        assert log.rewrite([forgotten(stream) for stream in [*together, Stream(KV, "unknown")]]) == (
            sum(expected[::2]),
            sum(expected[1::2]),
        )
        assert [log.head(stream) for stream in each + together] == [None] * 24
        assert {stream for _, stream, _ in log.follow()} == set(kept)
        assert everything(log, *kept)[:3] == before
        assert log.counts((KV, TS, ES)) == [3, 3, 4]
        assert log.rewrite([forgotten(stream) for stream in together]) == Reclaimed(0, 0)
        for stream in together:
            assert append(log, stream, entries(0)) > last[stream]
            assert min(position for position, found, _ in log.follow() if found == stream) > newest

    def test_nothing_is_forgotten_if_one_of_many_is_not_as_expected(self, log: Log) -> None:
        streams = [Stream(KV, f"key {number}") for number in range(80)]
        log.append([Batch(stream, entries(0), 1) for stream in streams])
        heads = [head_of(log, stream) for stream in streams]
        before = everything(log, *streams)
        with pytest.raises(StoreConflictError, match="key 70"):
            log.rewrite([forgotten(each.stream, each.version - (each.stream.key == "key 70")) for each in heads])
        with pytest.raises(StoreConflictError, match="key 79"):
            log.rewrite([forgotten(each.stream)._replace(floor=each.floor + (each == heads[79])) for each in heads])
        assert everything(log, *streams) == before
        ended = [Rewrite(each.stream, each.version, range(each.version), live=False) for each in heads]
        assert log.rewrite(ended) == Reclaimed(0, 0)
        assert log.counts([KV])[0] == 0
        assert [versions(log, each.stream) for each in heads] == [[each.version] for each in heads]
        assert log.rewrite([forgotten(each) for each in streams]) == Reclaimed(80, 0)

    def test_it_returns_records_and_bytes_of_what_was_taken_out(self, log: Log) -> None:
        append(log, SERIES, [entry(i, data=b"x" * i) for i in range(1, 5)])
        *_, last = log.read(SERIES)
        assert rewrite(log, SERIES, ALL, [last._replace(data=b"xx")]) == Reclaimed(3, 1 + 2 + 3 + 4 - 2)
        assert rewrite(log, SERIES, ALL, live=False) == Reclaimed(1, 2)
        assert Reclaimed(1, 2).plus(Reclaimed(10, 20)) == Reclaimed(11, 22)


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

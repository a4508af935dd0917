"""What the newest records promise: one for each stream, and no more at once than there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rstore.domain.log import Batch, Log, Record
from rstore.domain.paging import newest
from rstore.domain.streams import ES, KV, TS, Stream
from tests.conftest import case
from tests.contract.conftest import ALL, EVENTS, OTHER, SERIES, append, entries, entry, head_of, rewrite, starts

if TYPE_CHECKING:
    import pytest


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

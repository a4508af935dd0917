"""What followers are promised: nothing is skipped, and every position has a checkpoint."""

from __future__ import annotations

import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from rstore.domain.log import Batch, Log
from rstore.domain.streams import KV, TS, Stream
from tests.contract.conftest import ALL, EVENTS, KEY, MANY, OTHER, SERIES, append, entries, entry, rewrite


@pytest.fixture(params=[SERIES, KEY], ids=["series", "key"])
def stream(request: pytest.FixtureRequest) -> Stream:
    """Return a stream; some backends keep a key's records in another way than those of the others."""
    found: Stream = request.param
    return found


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
    def test_nothing_is_skipped_after_the_end_of_the_log_was_pruned(
        self, log: Log, stream: Stream, live: bool | None
    ) -> None:
        append(log, OTHER, entries(0))
        append(log, stream, entries(1, 2, 3))
        *_, (checkpoint, _, _) = log.follow()
        rewrite(log, stream, ALL, live=live)
        log.vacuum()
        append(log, OTHER, entries(4))
        append(log, stream, entries(5))
        assert [record.start for _, _, record in log.follow(checkpoint)] == [4, 5]

    def test_a_position_is_not_given_out_twice_though_a_stream_was_forgotten(self, log: Log, stream: Stream) -> None:
        append(log, stream, entries(1))
        *_, (checkpoint, _, _) = log.follow()
        rewrite(log, stream, ALL, live=False)
        append(log, stream, entries(2))
        assert [record.start for _, _, record in log.follow(checkpoint)] == [2]

    def test_nothing_is_skipped_after_a_replacement(self, log: Log, stream: Stream) -> None:
        append(log, stream, entries(1, 2, 3))
        *_, (checkpoint, _, _) = log.follow()
        append(log, stream, entries(4), replace=True)
        assert [record.start for _, _, record in log.follow(checkpoint)] == [4]
        append(log, stream, entries(5), replace=True)
        assert [record.start for _, _, record in log.follow(checkpoint)] == [5]

    def test_what_is_rewritten_is_not_seen_as_new(self, log: Log, stream: Stream) -> None:
        append(log, stream, entries(1, 2, 3))
        append(log, OTHER, entries(9))
        before = list(log.follow())
        put = [record._replace(data=b"new") for _, each, record in before if each == stream]
        rewrite(log, stream, ALL, put[1:])
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

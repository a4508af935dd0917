"""What threads and processes that share a log are promised."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from rstore.domain.log import Batch, Log
from rstore.domain.streams import ES, KV, TS, Stream
from tests.contract.conftest import MANY, OTHER, SERIES, append, entries, starts, versions


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

    def test_the_newest_records_are_those_of_one_moment(self, log: Log) -> None:
        streams = [Stream(kind, "key") for kind in (KV, TS, ES)]  # in one partition, where a namespace has several
        done = threading.Event()

        def write() -> None:
            try:
                for number in range(100):
                    log.append([Batch(stream, entries(number), number) for stream in streams])
            finally:
                done.set()

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            while not done.is_set():
                for options in ({}, {"room": 1 << 20}):
                    assert len(set(starts(filter(None, log.last(streams, **options))))) <= 1
            writer.result()

    def test_an_iterator_may_be_handed_to_another_thread(self, log: Log) -> None:
        append(log, SERIES, entries(*range(MANY)))
        reading = log.read(SERIES)
        first = next(reading)
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(list, reading).result()
        assert starts([first, *rest]) == list(range(MANY))

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

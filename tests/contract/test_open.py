"""What opening, closing and freezing a log promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rstore.domain.errors import StoreClosedError, StoreError, StoreNotAvailableError
from rstore.domain.log import Batch, Copy, Log, Record, ReplayQuery
from rstore.domain.streams import TS, Stream
from tests.conftest import Backend, case, in_turn
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
)

CALLS: dict[str, Callable[[Log], object]] = {
    "append": lambda log: append(log, SERIES, entries(9)),
    "append one of a new stream": lambda log: append(log, OTHER, iter(entries(9))),
    "append nothing": lambda log: log.append([]),
    "read": lambda log: list(log.read(SERIES)),
    "read unknown": lambda log: list(log.read(OTHER)),
    "replay": lambda log: log.replay([ReplayQuery(SERIES)]),
    "last": lambda log: log.last([SERIES]),
    "last of many": lambda log: log.last([SERIES, OTHER, EVENTS]),
    "last of none": lambda log: log.last([]),
    "head": lambda log: log.head(SERIES),
    "heads": lambda log: list(log.heads(TS)),
    "counts": lambda log: log.counts([TS])[0],
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

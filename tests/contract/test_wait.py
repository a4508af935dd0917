"""What a wait promises: it ends when there may be something new, and misses nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from rstore.domain.errors import StoreClosedError
from rstore.domain.log import Log
from tests.conftest import Backend
from tests.contract.conftest import OTHER, SERIES, append, entries


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

"""What versions and the life of a stream promise: no version comes twice."""

from __future__ import annotations

import pytest

from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Head, Log
from rstore.domain.streams import ES, KV, TS, Stream
from tests.conftest import Backend
from tests.contract.conftest import ALL, EVENTS, OTHER, SERIES, append, entries, head_of, rewrite, starts, versions


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
        assert log.counts([TS])[0] == 0
        streams = [Stream(TS, str(number)) for number in range(5)]
        log.append([Batch(stream, entries(1, 2), 1) for stream in streams])
        append(log, EVENTS, entries(1))
        assert (log.counts([TS])[0], log.counts([ES])[0], log.counts([KV])[0]) == (5, 1, 0)
        log.append([Batch(stream, entries(3), 1, live=False) for stream in streams[:3]])
        append(log, streams[0], entries(4), live=False)  # dies no second time
        assert (log.counts([TS])[0], log.counts([ES])[0]) == (2, 1)
        append(log, streams[0], entries(5))
        append(log, streams[0], entries(6))
        assert log.counts([TS])[0] == 3
        rewrite(log, streams[4], ALL, live=False)
        rewrite(log, streams[1], ALL)  # was dead already
        rewrite(log, streams[2], live=True)
        assert log.counts([TS])[0] == 3 == len(list(log.heads(TS)))

    def test_a_stream_may_be_born_dead(self, log: Log) -> None:
        append(log, SERIES, entries(1), live=False)
        assert (head_of(log, SERIES).live, log.counts([TS])[0]) == (False, 0)
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

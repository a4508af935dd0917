"""What namespaces promise: none sees another, and each is discarded as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from rstore.domain.errors import StoreNotAvailableError
from rstore.domain.log import Log, ReplayQuery
from rstore.domain.streams import KV, TS, Stream
from tests.conftest import Apart, Backend
from tests.contract.conftest import ALL, OTHER, SERIES, append, entries, entry, everything, keys, rewrite, starts


class TestDiscard:
    def test_nothing_is_left_and_the_next_write_makes_it_anew(self, log: Log) -> None:
        append(log, SERIES, entries(1, 2))
        append(log, OTHER, entries(1), live=False)
        log.discard()
        assert everything(log, SERIES, OTHER) == [[[], []], [[], []], [None, None], [(0, [], [])], []]
        assert (log.last([SERIES, OTHER]), log.replay([ReplayQuery(SERIES)])) == ([None, None], [None])
        append(log, SERIES, entries(3), expect=0)
        assert starts(log.read(SERIES)) == [3]
        assert (log.counts([TS])[0], keys(log.heads(TS))) == (1, ["series"])

    def test_only_its_own_namespace_goes(self, backend: Backend) -> None:
        mine, yours = backend.log("mine"), backend.log("yours")
        for log in (mine, yours):
            append(log, SERIES, entries(1, 2))
        before = everything(yours, SERIES)
        mine.discard()
        assert everything(yours, SERIES) == before
        assert mine.head(SERIES) is None
        append(yours, SERIES, entries(3))
        assert starts(yours.read(SERIES)) == [1, 2, 3]

    def test_it_is_gone_for_all_who_have_it_open(self, backend: Backend) -> None:
        log, other = backend.log(), backend.log()
        append(log, SERIES, entries(1))
        assert starts(other.read(SERIES)) == [1]
        log.discard()
        assert other.head(SERIES) is None
        append(other, SERIES, entries(2), expect=0)
        assert starts(log.read(SERIES)) == [2]
        assert log.counts([TS])[0] == other.counts([TS])[0] == 1

    def test_a_discarded_namespace_is_not_there_for_a_frozen_log_until_the_next_write(self, backend: Backend) -> None:
        log = backend.log()
        append(log, SERIES, entries(1))
        log.discard()
        with pytest.raises(StoreNotAvailableError):
            backend.log(frozen=True)
        append(log, SERIES, entries(2))
        assert starts(backend.log(frozen=True).read(SERIES)) == [2]

    def test_it_may_be_repeated(self, log: Log) -> None:
        for number in range(3):
            append(log, SERIES, entries(number), expect=0)
            log.discard()
        log.discard()
        assert list(log.follow()) == []

    def test_a_follower_with_the_log_open_misses_nothing_after_it(self, backend: Backend) -> None:
        log, follower = backend.log(), backend.log()
        append(log, SERIES, entries(1, 2, 3))
        *_, (checkpoint, _, _) = follower.follow()
        log.discard()
        append(log, SERIES, entries(4))
        assert [record.start for _, _, record in follower.follow(checkpoint)] == [4]


def own(backend: Backend, log: Log) -> list[str]:
    """Return the names of the namespaces that this test has made, among those of others on the same server."""
    connect: Any = backend.connect
    prefix = connect.named("") if isinstance(connect, Apart) else ""
    return [name.removeprefix(prefix) for name in log.namespaces() if name.startswith(prefix)]


class TestNamespaces:
    def test_all_of_a_backend_are_listed_in_code_point_order(self, backend: Backend) -> None:
        names = ["b", "a", "%2F", "a:0}:x", "{*}?", "Z", "é", "\U0010ffff", "\uffff", "a/b"]
        logs = [backend.log(name) for name in names]
        append(
            logs[0], Stream(KV, "x:0}:meta"), entries(1, 2)
        )  # what looks like another one where keys are found by name
        append(logs[0], Stream(KV, "a:0}:meta"), entries(0, 0))

        for log in (logs[1], backend.log("a", frozen=True)):
            assert log.namespaces() == sorted(log.namespaces())
            assert own(backend, log) == sorted(names)

    def test_one_that_was_discarded_is_not_listed_until_it_is_written_to(self, backend: Backend) -> None:
        log, other = backend.log("gone"), backend.log("other")
        append(log, SERIES, entries(1))
        log.discard()
        assert own(backend, other) == ["other"]
        append(log, SERIES, entries(1))
        assert own(backend, other) == ["gone", "other"]

    @pytest.mark.parametrize("names", [("a", "b"), ("a", "A"), ("a", "a%"), ("__", "_"), ("x:y", "x"), ("😀", "😀😀")])
    def test_they_do_not_see_each_other(self, backend: Backend, names: tuple[str, str]) -> None:
        one, two = map(backend.log, names)
        append(one, SERIES, [entry(1, data=b"one"), entry(2)])
        append(one, OTHER, entries(1))
        assert everything(two, SERIES, OTHER) == [[[], []], [[], []], [None, None], [(0, [], [])], []]
        append(two, SERIES, [entry(1, data=b"two")], expect=0, live=False)
        rewrite(two, OTHER, ALL, live=False)
        assert [record.data for record in one.read(SERIES)] == [b"one", b""]
        assert [record.data for record in two.read(SERIES)] == [b"two"]
        assert (one.counts([TS])[0], two.counts([TS])[0]) == (2, 0)
        assert [stream for _, stream, _ in two.follow()] == [SERIES]
        assert [record.data for record in two.last([SERIES, SERIES]) if record] == [b"two", b"two"]

    def test_logs_of_one_namespace_share_everything(self, backend: Backend) -> None:
        one, two = backend.log("same"), backend.log("same")
        version = append(one, SERIES, entries(1))
        assert append(two, SERIES, entries(2), expect=version) == version + 1
        assert everything(one, SERIES) == everything(two, SERIES)
        assert starts(one.read(SERIES)) == [1, 2]

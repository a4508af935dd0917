"""What heads and counts promise: each stream once, in the order of the keys."""

from __future__ import annotations

import pytest

from rstore.domain.as_of import AsOf
from rstore.domain.capabilities import Restorable
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Copy, Log, LogReader, Query, Rewrite
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.domain.transaction import Transaction
from tests.conftest import Backend, in_turn
from tests.contract.conftest import ALL, MANY, append, entries, entry, keys, rewrite, versions

ODD_KEYS = ["", " ", "%", "%%", "'", "*", "**", ".", "?", "A", "[a]", "\\", "_", "__", "a", "a ", "a%b", "a*b", "a_b"]
ODD_KEYS += [
    "aXb",
    "b",
    "e\u0301",
    "z",
    "{}",
    "é",
    "中",
    "\ue000",
    "\uffff",
    "\U00010000",
    "😀",
    "😀😀",
    "\U0010ffff",
    "k" * 1024,
]


class TestHeads:
    @pytest.fixture
    def odd(self, log: Log) -> Log:
        log.append([Batch(Stream(KV, key), [entry()], 1) for key in reversed(ODD_KEYS)])
        append(log, Stream(TS, "a series"), entries(1))
        return log

    def test_keys_come_in_code_point_order(self, odd: Log) -> None:
        assert "\uffff" < "\U00010000"  # as code points, though not in UTF-16
        assert keys(odd.heads(KV)) == sorted(ODD_KEYS)

    @in_turn("prefix", ["", "a", "a%", "%", "_", "a_", "*", "\\", "'", "[", "😀", "\U0010ffff", "A", "é", "x"])
    def test_a_prefix_is_literal(self, odd: Log, prefix: str) -> None:
        assert keys(odd.heads(KV, prefix)) == sorted(key for key in ODD_KEYS if key.startswith(prefix))

    @in_turn("after", [*ODD_KEYS, "aa", "\U0010fffe"])
    def test_after_goes_on_with_the_next_key(self, odd: Log, after: str) -> None:
        assert keys(odd.heads(KV, after=after)) == sorted(key for key in ODD_KEYS if key > after)

    @in_turn("after", ["", "a", "a%b", "aXb", "b", "%"])
    def test_prefix_and_after_hold_both(self, odd: Log, after: str) -> None:
        expected = sorted(key for key in ODD_KEYS if key.startswith("a") and key > after)
        assert keys(odd.heads(KV, "a", after=after)) == expected

    def test_only_one_kind_is_listed(self, odd: Log) -> None:
        assert keys(odd.heads(TS)) == ["a series"]
        assert keys(odd.heads(ES)) == []

    def test_live_ones_or_all(self, log: Log) -> None:
        log.append([Batch(Stream(KV, key), [entry()], 1, live=key in "ace") for key in "abcde"])
        assert keys(log.heads(KV)) == ["a", "c", "e"]
        assert keys(log.heads(KV, live=False)) == ["a", "b", "c", "d", "e"]
        assert [head.live for head in log.heads(KV, live=False)] == [True, False, True, False, True]
        assert keys(log.heads(KV, live=False, after="c")) == ["d", "e"]

    def test_each_is_what_head_returns(self, log: Log) -> None:
        for number, key in enumerate("abcd"):
            append(log, Stream(TS, key), entries(*range(number + 1)))
        rewrite(log, Stream(TS, "b"), versions(log, Stream(TS, "b"))[:1])
        append(log, Stream(TS, "c"), entries(9), live=False)
        rewrite(log, Stream(TS, "d"), ALL)
        found = list(log.heads(TS, live=False))
        assert found == [log.head(head.stream) for head in found]
        assert len(found) == 4

    @pytest.mark.parametrize("number", [255, 256, 257, 512, MANY])
    def test_more_than_one_page(self, log: Log, number: int) -> None:
        names = [f"{i:04}" for i in range(number)]
        log.append([Batch(Stream(KV, name), [entry()], 1) for name in ["zz", *names, "0"]])
        assert keys(log.heads(KV)) == ["0", *names, "zz"]
        assert keys(log.heads(KV, "0")) == ["0", *names]
        assert keys(log.heads(KV, after=names[1])) == [*names[2:], "zz"]

    def test_a_listing_goes_on_while_the_log_is_written_to(self, log: Log) -> None:
        names = [f"{i:04}" for i in range(MANY)]
        log.append([Batch(Stream(KV, name), [entry()], 1) for name in names])
        seen = []
        for number, head in enumerate(log.heads(KV)):
            seen.append(head.stream.key)
            if number % 100 == 0:
                log.append(
                    [
                        Batch(Stream(KV, f"{head.stream.key}+"), [entry()], 1),
                        Batch(Stream(KV, f"!{number}"), [entry()], 1),
                        Batch(head.stream, [entry()], 1, replace=True),
                        Batch(Stream(KV, names[number + 50]), [entry()], 1),
                    ]
                )
                rewrite(log, Stream(KV, f"!{number}"), ALL, live=False)
        assert [key for key in seen if key in names] == names
        assert seen == sorted(set(seen))

    def test_what_died_far_ahead_of_a_listing_is_not_repeated_and_the_rest_is_complete(self, log: Log) -> None:
        names = [f"{i:04}" for i in range(MANY)]
        log.append([Batch(Stream(KV, name), [entry()], 1) for name in names])
        listing = log.heads(KV)
        seen = [next(listing).stream.key]
        log.append([Batch(Stream(KV, name), [entry()], 1, live=False) for name in names[1::2]])
        seen += keys(listing)
        assert seen == sorted(set(seen))
        assert set(names[::2]) <= set(seen)
        assert keys(log.heads(KV)) == names[::2]


class TestEndsOfValues:
    """The head of a key has the end of its newest record, so that a list of keys needs no records."""

    def ends(self, log: LogReader, *, until: int | None = None) -> dict[str, int]:
        listed = {head.stream.key: head.end for head in log.heads(KV, live=False, until=until)}
        assert listed == {key: head.end for key in listed if (head := log.head(Stream(KV, key), until)) is not None}
        return listed

    def test_it_is_that_of_the_newest_record(self, log: Log) -> None:
        a, b, c = (Stream(KV, key) for key in "abc")
        log.append([Batch(a, [entry(0)], 10), Batch(b, [entry(0, 90)], 10), Batch(c, [entry(0, 7)], 10)])
        assert self.ends(log) == {"a": 0, "b": 90, "c": 7}
        append(log, a, [entry(0, TIME_MAX)], recorded=20)
        append(log, b, [entry(0)], recorded=20)
        append(log, c, [entry(op="delitem")], recorded=20, live=False)
        assert self.ends(log) == {"a": TIME_MAX, "b": 0, "c": 0}
        append(log, a, [entry(0, 40)], recorded=30, replace=True)
        log.append([Batch(stream, [entry(0, 50)], 30, replace=True) for stream in (b, c)])
        assert self.ends(log) == {"a": 40, "b": 50, "c": 50}

    def test_by_a_time_it_is_that_of_the_newest_record_then(self, log: Log, backend: Backend) -> None:
        a, b = Stream(KV, "a"), Stream(KV, "b")
        for recorded, end in ((10, 90), (20, 0), (30, 95)):
            append(log, a, [entry(0, end)], recorded=recorded)
        append(log, b, [entry(0, 70)], recorded=10)
        for reader, options in ((log, {"until": 10}), (AsOf(log, 10), {}), (AsOf(log, 19), {})):
            assert self.ends(reader, **options) == {"a": 90, "b": 70}
        assert self.ends(log, until=20) == {"a": 0, "b": 70}
        assert self.ends(AsOf(log, 30)) == {"a": 95, "b": 70}
        for end in range(20):
            append(log, a, [entry(0, end)], recorded=40 + end)
        frozen = backend.log(frozen=True)
        for reader in (log, frozen):
            assert [self.ends(reader, until=time)["a"] for time in (10, 20, 30, 40, 42, 58)] == [90, 0, 95, 0, 2, 18]
            assert [record.end for record in reader.read(a)] == [90, 0, 95, *range(20)]
            assert [record.end for record in reader.read(a, Query(start=18))] == [90, 95, 18, 19]

    def test_a_transaction_shows_what_it_writes(self, log: Log) -> None:
        a, b = Stream(KV, "a"), Stream(KV, "b")
        log.append([Batch(a, [entry(0, 90)], 10), Batch(b, [entry(0, 70)], 10)])
        above = Transaction(log)
        above.append([Batch(a, [entry(0, 95)], 20)])
        assert self.ends(above) == {"a": 95, "b": 70}
        assert self.ends(above, until=20) == {"a": 95, "b": 70}

    def test_a_transaction_that_only_checks_a_key_shows_its_end(self, log: Log) -> None:
        a, b = Stream(KV, "a"), Stream(KV, "b")
        version, _ = log.append([Batch(a, [entry(0, 90)], 10), Batch(b, [entry()], 10)])
        above = Transaction(log)
        above.append([Batch(b, [entry(0, 70)], 20)])
        assert above.append([Batch(a, (), 20, version, if_live=True)]) == [version]
        assert self.ends(above) == {"a": 90, "b": 70}
        append(log, a, [entry()], recorded=15)
        with pytest.raises(StoreConflictError):
            log.append(above.batches(20))

    def test_it_stays_with_what_is_rewritten_and_restored(self, log: Log, backend: Backend) -> None:
        a = Stream(KV, "a")
        first = append(log, a, [entry(0, 90)], recorded=10)
        last = append(log, a, [entry(0, 95, data=b"old")], recorded=20)
        *_, record = log.read(a)
        log.rewrite([Rewrite(a, None, [first, last], [record._replace(data=b"new")], bump_version=False)])
        assert self.ends(log) == {"a": 95}
        other = backend.log("other")
        assert isinstance(other, Restorable)
        other.restore([Copy(a, last, True, 0, list(log.read(a)))])
        assert self.ends(other) == {"a": 95}

    def test_other_kinds_have_none(self, log: Log) -> None:
        for stream in (Stream(TS, "a"), Stream(ES, "b")):
            append(log, stream, [entry(0, 90)], recorded=10)
            assert [head.end for head in log.heads(stream.kind)] == [0]
            assert [head.end for head in log.heads(stream.kind, until=10)] == [0]

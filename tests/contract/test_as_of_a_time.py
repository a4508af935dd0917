"""What the past promises: the newest records, and the heads, are those of a transaction time."""

from __future__ import annotations

import pytest

from rstore.domain.log import Batch, Head, Log
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, KV, TS, Stream
from tests.conftest import Backend, case
from tests.contract.conftest import ALL, MANY, SERIES, append, entries, entry, keys, rewrite, then, versions


class TestThen:
    """What ``last``, ``head`` and ``heads`` show of the past."""

    KEY = Stream(KV, "key")

    @pytest.mark.parametrize("kind", [KV, TS, ES])
    def test_a_long_history_is_the_same_as_read_one_by_one(self, log: Log, kind: str) -> None:
        stream, other = Stream(kind, "long"), Stream(kind, "other")
        for recorded in range(0, 700, 7):
            # starts that don't increase: whoever looks for the newest by its span is wrong
            added = [entry(0 if kind == KV else (17 * recorded + i) % 90, op="setitem") for i in range(10)]
            append(log, stream, added, recorded=recorded)
        append(log, other, [entry()], recorded=350)
        known = sorted(versions(log, stream))
        rewrite(log, stream, known[50:440])
        rewrite(log, stream, known[900::2])
        append(log, stream, [entry(op="setitem")], recorded=0)  # no earlier than what is there
        for until in (-1, 0, 1, 6, 7, 100, 116, 117, 330, 350, 480, 600, 692, 693, 694, TIME_MAX):
            expected = [then(log, stream, until), then(log, other, until)]
            with case(until):
                assert log.last([stream, other], until) == expected
                assert log.last([stream], until) == expected[:1]
                heads = [
                    None if last is None else Head(each, last.version, 0, True)
                    for each, last in zip((stream, other), expected, strict=True)
                ]
                assert [log.head(stream, until), log.head(other, until)] == heads
                assert list(log.heads(kind, until=until)) == [head for head in heads if head]

    ENTRY = Stream("ix/0123456789abcdef", "of an index")

    def test_a_key_lived_until_it_was_deleted_and_after_it_was_set_again(self, log: Log) -> None:
        for recorded, op in enumerate(["setitem", "delitem", "setitem", "delitem"]):
            for stream in (self.KEY, self.ENTRY):
                append(log, stream, [entry(op=op)], recorded=recorded, live=op == "setitem")
        for until, lived in ((0, True), (1, False), (2, True), (3, False), (4, False)):
            for stream in (self.KEY, self.ENTRY):
                head = log.head(stream, until)
                assert head is not None
                assert (head.live, head.floor) == (lived, 0)
                assert list(log.heads(stream.kind, until=until)) == [head] * lived
                assert list(log.heads(stream.kind, until=until, live=False)) == [head]
        assert log.head(self.KEY, -1) is None
        assert list(log.heads(KV, until=-1, live=False)) == []

    def test_a_stream_of_another_kind_lived_as_long_as_it_had_records(self, log: Log) -> None:
        append(log, SERIES, entries(1), recorded=1)
        version = append(log, SERIES, [entry(1, op="remove")], recorded=2, live=False)
        assert keys(log.heads(TS, until=1)) == ["series"]
        assert log.head(SERIES, 2) == Head(SERIES, version, 0, live=True)
        rewrite(log, SERIES, ALL, live=True)
        assert log.head(SERIES, 2) is None
        assert list(log.heads(TS, until=2)) == []

    def test_the_version_is_that_of_the_record_though_a_rewrite_has_moved_the_stream_on(self, log: Log) -> None:
        first = append(log, self.KEY, [entry(op="setitem")], recorded=1)
        newest = append(log, self.KEY, [entry(op="setitem")], recorded=2)
        rewrite(log, self.KEY, [first])
        assert log.head(self.KEY, 2) == Head(self.KEY, newest, 0, live=True)
        assert log.head(self.KEY, 1) is None

    def test_pages_prefix_and_after(self, log: Log) -> None:
        names = [f"{number:04}" for number in range(MANY)]
        for recorded, born in enumerate((names[::3], names[1::3], names[2::3])):
            log.append([Batch(Stream(KV, name), [entry(op="setitem")], recorded) for name in born])
        gone = [Batch(Stream(KV, name), [entry(op="delitem")], 3, live=False) for name in names[:500]]
        log.append(gone)
        assert keys(log.heads(KV, until=0)) == names[::3]
        assert keys(log.heads(KV, until=1)) == [name for name in names if int(name) % 3 < 2]
        assert keys(log.heads(KV, until=2)) == names
        assert keys(log.heads(KV, until=3)) == names[500:]
        assert keys(log.heads(KV, until=3, live=False)) == names
        assert keys(log.heads(KV, "02", until=2)) == names[200:300]
        assert keys(log.heads(KV, "02", until=2, after="0250")) == names[251:300]
        assert keys(log.heads(KV, until=2, after="0250")) == names[251:]

    def test_a_listing_of_the_past_goes_on_while_the_log_is_written_to(self, log: Log) -> None:
        names = [f"{number:04}" for number in range(MANY)]
        log.append([Batch(Stream(KV, name), [entry(op="setitem")], 1) for name in names])
        seen = []
        for number, head in enumerate(log.heads(KV, until=1)):
            seen.append(head.stream.key)
            if number % 100 == 0:
                later = [Batch(Stream(KV, f"{names[number]}+"), [entry(op="setitem")], 2)]
                later += [Batch(Stream(KV, name), [entry(op="delitem")], 2, live=False) for name in names[number::50]]
                log.append(later)
        assert seen == names

    def test_nobody_reads_the_future_of_a_frozen_log_either(self, backend: Backend) -> None:
        log = backend.log()
        for recorded in range(100):
            append(log, self.KEY, [entry(op="setitem", data=b"%d" % recorded)], recorded=recorded)
            append(log, SERIES, entries(-recorded), recorded=recorded)
        frozen = backend.log(frozen=True)
        for until in (-1, 0, 1, 20, 50, 98, 99, 100):
            for each in (self.KEY, SERIES):
                assert frozen.last([each], until) == [then(log, each, until)] == log.last([each], until)
            assert frozen.last([SERIES, self.KEY], until) == log.last([SERIES, self.KEY], until)
            assert frozen.head(self.KEY, until) == log.head(self.KEY, until)
            assert list(frozen.heads(TS, until=until)) == list(log.heads(TS, until=until))

"""What heads and counts promise: each stream once, in the order of the keys."""

from __future__ import annotations

import pytest

from rstore.domain.log import Batch, Log
from rstore.domain.streams import ES, KV, TS, Stream
from tests.conftest import in_turn
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

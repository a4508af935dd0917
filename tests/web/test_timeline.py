"""The times of changes, kept in blocks, tell the same as a list of all."""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from rstore.web.timeline import Block, Near, Timeline

times = st.lists(st.none() | st.integers(0, 60) | st.integers(1_000, 1_010), max_size=60)


def timeline_of(times: list[int | None], **options: int) -> Timeline:
    timeline = Timeline(**options)
    for position, time in enumerate(times, 1):
        timeline.add(position, time)
    return timeline


def read(times: list[int | None], block: Block) -> list[int]:
    """Return the times of the changes in a block, as somebody who reads the log again finds them."""
    return [time for time in times[int(block.after or 0) : int(block.until)] if time is not None]  # type: ignore[call-overload]


def nearer(near: Near, found: list[int], *, least: bool) -> int | None:
    known = [] if near.known is None else [near.known]
    return (min if least else max)(known + found, default=None)


@settings(max_examples=150)
@given(times, st.integers(-2, 1_012), st.integers(1, 9))
def test_it_finds_the_changes_beside_a_time_as_a_sorted_list_does(
    times: list[int | None], time: int, records: int
) -> None:
    timeline = timeline_of(times, records=records)
    naive = sorted(each for each in times if each is not None)
    before, after = timeline.before(time), timeline.after(time)
    place = bisect_left(naive, time)
    found = [each for block in before.blocks for each in read(times, block) if each < time]
    assert nearer(before, found, least=False) == (naive[place - 1] if place else None)
    place = bisect_right(naive, time)
    found = [each for block in after.blocks for each in read(times, block) if each > time]
    assert nearer(after, found, least=True) == (naive[place] if place < len(naive) else None)


@settings(max_examples=100)
@given(times, st.integers(-1, 1_011), st.integers(0, 1_000), st.integers(1, 9))
def test_its_blocks_have_all_changes_of_a_span_the_newest_first(
    times: list[int | None], low: int, length: int, records: int
) -> None:
    blocks = list(timeline_of(times, records=records).blocks(low, low + length))
    chosen = [time for block in blocks for time in reversed(read(times, block)) if low <= time <= low + length]
    assert chosen == [time for time in reversed(times) if time is not None and low <= time <= low + length]
    for block in blocks:
        found = read(times, block)
        assert (min(found), max(found), len(found)) == (block.low, block.high, block.changes)
        assert block.low <= low + length
        assert block.high >= low


@settings(max_examples=100)
@given(times, st.integers(2, 20), st.integers(4, 30))
def test_a_sample_is_of_real_times_and_has_the_first_and_the_last(
    times: list[int | None], most: int, samples: int
) -> None:
    timeline = timeline_of(times, samples=samples)
    naive = sorted({each for each in times if each is not None})
    sample = timeline.sample(most)
    assert sample == sorted(set(sample))
    assert set(sample) <= set(naive)
    assert len(sample) <= most
    if naive:
        assert (sample[0], sample[-1]) == (naive[0], naive[-1])
    if len(times) < samples and len(naive) <= most:
        assert sample == naive


def test_a_sample_is_evenly_spread() -> None:
    sample = timeline_of(list(range(100_000))).sample(601)
    steps = [after - before for before, after in pairwise(sample)]
    assert len(sample) == 601
    assert max(steps) < 3 * 100_000 / 600


def test_only_blocks_that_a_time_lies_in_are_read_again() -> None:
    timeline = timeline_of(list(range(0, 20_000, 2)), records=100)
    near = timeline.after(10_101)
    assert [(block.low, block.high) for block in near.blocks] == [(10_000, 10_198)]
    assert timeline.after(10_198) == Near(10_200, [])
    assert timeline.before(10_200) == Near(10_198, [])


def test_a_block_of_large_values_has_fewer_records() -> None:
    timeline = Timeline()
    for position in range(100):
        timeline.add(position, position, size=1 << 20)
    assert {block.changes for block in timeline.blocks(0, 100)} == {4}


def test_ten_million_records_take_a_few_megabytes() -> None:
    timeline = timeline_of(list(range(200_000)))
    lists = (timeline._ends, timeline._lows, timeline._highs, timeline._counts)
    assert sum(map(sys.getsizeof, lists)) + 32 * len(timeline._ends) < 20_000  # 50 times that is 1 MB

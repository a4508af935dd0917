"""Resampling by NumPy: the same bins as those that are made value by value."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rstore import Store, StorePayloadError, frames
from rstore.core import now
from rstore.domain.log import Rewrite
from rstore.domain.resampling import HOWS
from rstore.domain.streams import TS, Stream
from rstore.encoding import checksums, envelope, summaries
from rstore.models import beginnings, resampled, segments

DAY = datetime.datetime(2026, 1, 1)  # noqa: DTZ001  # polars and its zones are not what this is about
CHANCE = 0.3
STREAM = Stream(TS, "key")
ROUNDS = pytest.mark.parametrize("seed", range(50))
BEGIN = int(DAY.replace(tzinfo=datetime.UTC).timestamp()) * 1000
KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG="
YEARS = datetime.timedelta(days=36_500)
INTS = {pl.Int8: 8, pl.Int16: 16, pl.Int32: 32, pl.Int64: 64}
UNSIGNED = {pl.UInt8: 8, pl.UInt16: 16, pl.UInt32: 32, pl.UInt64: 64}


def large(dice: Random, bits: int) -> int:
    return dice.choice([2**bits - 1, dice.randrange(2**bits), dice.randrange(9)])


VALUES: dict[Any, Callable[[Random], Any]] = {
    pl.Float64: lambda dice: dice.choice([math.nan, 0.0, -0.0, math.inf, -math.inf, 0.25, -0.5, 2.5]),
    pl.Float32: lambda dice: dice.choice([math.nan, 0.5, -1.25, math.inf]),
    pl.Boolean: lambda dice: dice.random() < 0.5,
    pl.Date: lambda dice: datetime.date.fromordinal(dice.randrange(1, datetime.date.max.toordinal())),
    pl.Datetime("us"): lambda dice: DAY + dice.uniform(-1, 1) * YEARS,
    pl.Duration("ms"): lambda dice: datetime.timedelta(hours=dice.randrange(-9, 9)),
    pl.String: lambda dice: dice.choice(["", "a", "b", "ab"]),
    **{
        kind: lambda dice, bits=bits: dice.choice(
            [dice.randrange(-9, 9), dice.randrange(-(2 ** (bits - 1)), 2 ** (bits - 1))]
        )
        for kind, bits in INTS.items()
    },
    **{
        kind: lambda dice, bits=bits: dice.randrange(2 ** dice.randrange(1, bits + 1))
        for kind, bits in UNSIGNED.items()
    },
}
"""Values of each kind of column: ints overflow in sums of their own width, and sums of these floats are exact."""


def table(dice: Random) -> pl.DataFrame:
    low, missing = dice.randrange(25), dice.choice([0, 0, 0.3, 1])
    minutes = sorted(dice.sample(range(low, low + 15), dice.randrange(1, 13)))
    columns = {
        f"{i} {kind}": pl.Series([None if dice.random() < missing else VALUES[kind](dice) for _ in minutes], dtype=kind)
        for i, kind in enumerate(dice.choices(list(VALUES), k=dice.choice([1, 1, 2, 3])))
    }
    times = pl.Series([DAY + datetime.timedelta(minutes=minute) for minute in minutes], dtype=pl.Datetime("ms"))
    return pl.DataFrame({"time": times, **columns})


def extend(store: Store, dice: Random) -> None:
    """Put tables into a series, and mostly a hole, or points of no type."""
    for _ in range(dice.choice([1, 1, 2, 3])):
        store.extend("key", table(dice))
    if dice.random() < CHANCE:
        start, end = sorted(at(dice.randrange(40)) for _ in range(2))
        store.remove("key", start=start, end=end)
    if dice.random() < CHANCE:
        store.extend("key", (at(dice.randrange(40)), dice.randrange(5)))


def at(minute: int) -> int:
    return BEGIN + minute * 60_000


def bins(store: Store, how: str, freq: int, monkeypatch: pytest.MonkeyPatch, *, by_numpy: bool) -> Any:
    with monkeypatch.context() as patch:
        if not by_numpy:
            patch.setattr(frames, "as_reduced", lambda: None)
        try:
            return [(time, exact(value)) for time, value in store.resample("key", freq, how)]
        except TypeError as exc:
            return str(exc)


def exact(value: Any) -> Any:
    """Two results are the same if these are: with their types, where NaN equals itself, and 0.0 equals -0.0."""
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    return type(value), "nan" if value != value else value


@ROUNDS
def test_columns_and_values_have_the_same_bins(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = Random(seed)
    with Store("memory://", frozen=False) as store:
        extend(store, dice)
        freq = 60_000 * dice.choice([3, 7, 60])
        for how in HOWS:
            found = bins(store, how, freq, monkeypatch, by_numpy=True)
            assert found == bins(store, how, freq, monkeypatch, by_numpy=False)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give segments of two rows a summary, with marks and chunks so small that there are many."""
    monkeypatch.setattr(envelope, "SUMMED_FROM", 2)
    monkeypatch.setattr(summaries, "_MARK", 3)
    monkeypatch.setattr(checksums, "CHUNK", 16)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("key", [None, KEY])
@ROUNDS
def test_summaries_and_parts_change_nothing(
    seed: int, key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether summaries and parts of segments are read, or everything; and whether beginnings of records are enough."""
    dice = Random(seed)
    monkeypatch.setattr(beginnings, "BEGINNING", dice.choice([beginnings.BEGINNING, 40, 250]))
    with Store(tmp_path / "a.db", key=key, frozen=False) as store, Store("memory://", frozen=False) as naive:
        extend(store, Random(seed))
        monkeypatch.setattr(envelope, "SUMMED_FROM", 1_000_000)
        extend(naive, Random(seed))
        low, high, freq = at(dice.randrange(41)), at(dice.randrange(41)), 60_000 * dice.choice([3, 20, 35, 60])
        everything = [exact(point) for point in naive.range("key")]
        assert [exact(point) for point in store.range("key")] == everything
        assert [exact(point) for point in store.range("key", low, end=high)] == [
            point for point in everything if low <= point[0][1] <= high
        ]
        assert exact(store.first("key")) == exact(naive.first("key"))
        assert exact(store.last("key")) == exact(naive.last("key"))
        assert store.time_axis("key") == naive.time_axis("key")
        for how in HOWS:
            found = bins(store, how, freq, monkeypatch, by_numpy=True)
            assert found == bins(naive, how, freq, monkeypatch, by_numpy=False)
            assert found == bins(store, how, freq, monkeypatch, by_numpy=False)


@pytest.mark.parametrize("span", [(100_000, None), (None, 200_000), (100_000, 200_000), (59, 60), (1, None)])
def test_a_span_that_cuts_a_long_segment_counts_no_others(span: tuple[int | None, int | None]) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", pd.Series(np.arange(5000.0), (np.arange(5000) * 60).astype("M8[s]")))
        start, end = span
        expected = sum(value for _, value in store.range("key", start, end=end))

        assert [value for _, value in store.resample("key", "1000D", "sum", start=start, end=end)] == [expected]


@pytest.mark.usefixtures("tiny")
def test_beginnings_are_enough_on_each_backend(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a log cuts payloads there or ignores it; in a view of the past and in a transaction too."""
    for seed in range(6):
        with Store("memory://", frozen=False) as naive:
            for each in (store, naive):
                each.remove("key")
                extend(each, Random(seed))
            expected = list(map(outcome, short_reads(naive)))
        for size in (40, 250, 8192):
            monkeypatch.setattr(beginnings, "BEGINNING", size)
            with store.transaction():
                assert list(map(outcome, short_reads(store))) == expected
            assert list(map(outcome, short_reads(store.at(now())))) == expected


def outcome(read: Callable[[], Any]) -> Any:
    try:
        return exact(read())
    except TypeError as exc:  # not all values can be resampled together
        return str(exc)


def short_reads(store: Any) -> list[Callable[[], Any]]:
    return [
        lambda: store.first("key"),
        lambda: store.last("key"),
        lambda: store.time_axis("key"),
        lambda: store.resample("key", 1_200_000, "last"),
    ]


@pytest.mark.usefixtures("tiny")
@ROUNDS
def test_a_compaction_between_two_looks_changes_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps versions and spans of records that hold something else from then on."""
    with Store("memory://", frozen=False) as naive:
        extend(naive, Random(seed))
        expected = list(map(outcome, short_reads(naive)))
    for i, known in enumerate(expected):
        size = Random(seed).choice([40, 250, 8192])
        with Store(tmp_path / f"{i}.db", frozen=False) as store, monkeypatch.context() as patch:
            extend(store, Random(seed))
            patch.setattr(beginnings, "BEGINNING", size)
            patch.setattr(beginnings, "summary_of", compacting(store, beginnings.summary_of))
            for module in (segments, resampled):
                patch.setattr(module, "summary_of", beginnings.summary_of)
            assert isinstance(known, str) or outcome(short_reads(store)[i]) == known


@pytest.mark.usefixtures("tiny")
def test_neither_version_nor_span_tells_that_a_record_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewrite may keep both, and put another part of what is visible there."""
    before = {1: 1.5, 3: 2.5, 9: 3.5}, {0: 4.5, 5: 5.5, 9: 6.5}
    hidden, moved = ({1: 1.5, 3: 2.5, 9: 6.5}, {0: 4.5, 5: 5.5}), ({1: 1.5, 9: 6.5}, {0: 4.5, 3: 2.5, 5: 5.5, 9: 6.5})
    cases: list[tuple[Any, str, int, Callable[[], Any]]] = [
        (hidden, "summary_of", 8192, lambda: store.last("key")),
        (moved, "whole", 40, lambda: store.resample("key", 60, "count")),
    ]
    for after, name, size, read in cases:
        with Store(tmp_path / f"{name}.db", frozen=False) as store, monkeypatch.context() as patch:
            written = []
            for points in (after, before):
                store.discard()
                for each in points:
                    store.extend("key", pd.Series(each.values(), np.array(list(each)).astype("M8[s]")))
                written.append(sorted(store._core.log.read(STREAM)))
            new, old = written
            pairs = zip(old, new, strict=True)
            put = [kept._replace(start=to.start, end=to.end, data=to.data) for kept, to in pairs]
            known = read()
            rewrite = Rewrite(STREAM, None, [record.version for record in old], put)
            then = partial(rewriting, store, rewrite, getattr(beginnings, name))
            patch.setattr(beginnings, "BEGINNING", size)
            patch.setattr(resampled, name, then)
            patch.setattr(segments, name, then)
            assert read() == known
            assert read() == known
            assert sorted(store._core.log.read(STREAM)) == put


def rewriting(store: Store, rewrite: Rewrite, look: Callable[..., Any], *args: Any) -> Any:
    found = look(*args)
    store._core.log.rewrite([rewrite])
    return found


def test_a_record_that_is_rewritten_meanwhile_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look at its beginning, and the look at its rows."""
    times = pl.Series([DAY + datetime.timedelta(minutes=minute) for minute in range(3_000)], dtype=pl.Datetime("ms"))
    frame = pl.DataFrame({"time": times, "value": pl.Series([0.5, None] * 1_500)})
    with Store(tmp_path / "a.db", frozen=False) as store:
        for part in (frame[:1_500], frame[1_500:]):
            store.extend("key", part)
        reads: list[Callable[[], Any]] = [
            lambda: store.last("key"),
            lambda: store.first("key"),
            lambda: store.time_axis("key"),
            lambda: store.resample("key", "3D", "mean"),
            lambda: store.resample("key", "1D", "count"),
        ]
        before = [read() for read in reads]
        for size in (beginnings.BEGINNING, 40):
            monkeypatch.setattr(beginnings, "BEGINNING", size)
            for read, known in zip(reads, before, strict=True):
                with monkeypatch.context() as patch:
                    patch.setattr(beginnings, "summary_of", compacting(store, beginnings.summary_of))
                    for module in (segments, resampled):
                        patch.setattr(module, "summary_of", beginnings.summary_of)
                    assert read() == known


def compacting(store: Store, summary_of: Callable[..., Any]) -> Callable[..., Any]:
    def then(*args: Any) -> Any:
        found = summary_of(*args)
        store.extend("key", (1, None))
        store.remove("key", start=1, end=1)
        store.compact()
        return found

    return then


class Gone:
    """A value whose class is there when it is written."""


def test_rows_that_cannot_be_loaded_may_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as they can't be seen, nobody minds; also where only the beginning of their segment was read."""
    times = np.arange(2_000).astype("M8[s]")
    numbers = pd.Series(np.arange(2_000.0), times, name="a")
    with Store(tmp_path / "a.db", frozen=False) as store:
        store.extend("key", numbers.to_frame().assign(b=pd.Series([Gone()] * 2_000, times)))
        store.extend("key", numbers.iloc[1:-1])
        with monkeypatch.context() as patch:
            patch.delattr(f"{__name__}.Gone")
            for read in (lambda: store.last("key"), lambda: store.first("key"), lambda: store.resample("key", "1D")):
                with pytest.raises(StorePayloadError, match="Gone"):
                    read()
            store.extend("key", (0, 0.5), (1_999, 1.5))
            assert store.first("key") == (0, 0.5)
            assert store.last("key") == (1_999, 1.5)
            assert store.resample("key", "1D", "max") == [(0, 1_998.0)]

"""Long segments of typed columns: their summaries, and parts of them that are read alone."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rstore import Store, StoreFormatError, StorePayloadError
from rstore.domain.log import Record, Rewrite
from rstore.domain.streams import TS, Stream
from rstore.encoding import checksums, sealing, summaries
from rstore.encoding.bodies import ENCRYPTED, SUMMED, Body
from rstore.encoding.columns import Column, Layout, Table, TimeAxis
from rstore.encoding.packing import pack_times
from rstore.frames import reducing
from rstore.models import beginnings

KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG="
STREAM = Stream(TS, "key")
ROWS = 5_000


def noise(*, regular: bool) -> pd.Series:
    dice = np.random.default_rng(1)
    times = np.arange(ROWS) if regular else np.cumsum(dice.integers(1, 4, ROWS))
    return pd.Series(dice.standard_normal(ROWS), times.astype("M8[s]"))


def record_of(store: Store) -> Record:
    (record,) = store._core.log.read(STREAM)
    return record


def put(store: Store, data: bytes) -> None:
    record = record_of(store)
    store._core.log.rewrite([Rewrite(STREAM, None, [record.version], [record._replace(data=data)])])


def test_the_bytes_of_a_summary_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "_MARK", 2)
    kinds = Column("a", "f8"), Column("b", "i8"), Column("c", "text")
    layout = Layout(TimeAxis("s", "UTC", "at"), kinds, framed=True)
    data = [[1.5, float("nan"), -2.5], [2**62, 2**62, 7], ["x", "y", "z"]]
    table = Table(layout, data, [None, bytes([1, 1, 1]), None])
    times = [5, 6, 9]
    expected = (
        b'[3,["s","UTC","at"],true,[["a","f8",null,null,"",[2,-1.0,-2.5,1.5,1.5,-2.5]],["b","i8",null,null,"",[]],'
        b'["c","text",null,null,"",null]],[5,9]]'
    )
    index = pack_times(times)
    assert summaries.pack_summary(times, table, index, summaries.aggregates_of) == expected
    arrays = Table(layout, [np.array(table.data[0]), np.array(table.data[1]), table.data[2]], table.absent)
    assert summaries.pack_summary(np.array(times), arrays, index, reducing.aggregates_of) == expected
    found = summaries.unpack_summary(expected)
    assert (found.rows, found.layout, found.marks) == (3, layout, [5, 9])
    assert summaries.pack_summary(range(3), table, pack_times(range(3)), summaries.aggregates_of).endswith(b",[]]")


@pytest.mark.parametrize("regular", [True, False])
@pytest.mark.parametrize("key", [None, KEY])
def test_a_version_that_knows_no_summaries_says_so(
    monkeypatch: pytest.MonkeyPatch, key: str | None, regular: bool
) -> None:
    with Store("memory://", key=key, frozen=False) as store:
        store.extend("key", noise(regular=regular))
        assert sealing.flags_of(record_of(store).data) & SUMMED
        monkeypatch.setattr(sealing, "KNOWN", 127)
        for read in reads(store).values():
            with pytest.raises(StoreFormatError, match="a newer rstore wrote it"):
                read()


def test_summaries_are_inside_the_seal() -> None:
    with Store("memory://", key=KEY, frozen=False) as store:
        store.extend("key", noise(regular=True))
        data = record_of(store).data
        assert sealing.flags_of(data) & ENCRYPTED
        assert b'"f8"' not in data


def test_short_segments_have_none() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", noise(regular=True)[: summaries.SUMMED_FROM - 1])
        assert not sealing.flags_of(record_of(store).data) & SUMMED


def reads(store: Store) -> dict[str, Any]:
    return {
        "range": lambda: store.range("key"),
        "slice": lambda: store.range("key", 4_000, end=4_010),
        "last": lambda: store.last("key"),
        "first": lambda: store.first("key"),
        "resample": lambda: store.resample("key", 86_400, "mean"),
        "resample by few": lambda: store.resample("key", 300, "mean"),
        "time_axis": lambda: store.time_axis("key"),
        "frame": lambda: store.range("key", to="pandas").tolist(),
    }


@pytest.mark.parametrize("regular", [True, False])
@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("beginning", [None, 8192, 300], ids="beginning {}".format)
def test_damage_is_found_by_each_read_that_meets_it(
    key: str | None, regular: bool, beginning: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read finds what it did before, or refuses. One that needs all bytes always refuses."""
    dice = np.random.default_rng(1)
    monkeypatch.setattr(beginnings, "BEGINNING", beginning)
    dsn = f"sqlite:///{tmp_path / 'a.db'}?durability=normal" if beginning else "memory://"
    with Store(dsn, key=key, frozen=False) as store:
        store.extend("key", noise(regular=regular))
        data = record_of(store).data
        before = {name: read() for name, read in reads(store).items()}
        refused = dict.fromkeys(before, 0)
        places = [0, *range(2, 24), *(2 + dice.permutation(len(data) - 2)[:150]).tolist()]
        if key is None:
            places.append(data.index(struct.pack("<d", noise(regular=regular).loc["1970-01-01 01:06:42":].iloc[0])))
        for at in places:
            put(store, data[:at] + bytes((data[at] ^ int(dice.integers(1, 256)),)) + data[at + 1 :])
            for name, read in reads(store).items():
                try:
                    assert read() == before[name], (name, at)
                except StorePayloadError:
                    refused[name] += 1
        assert refused["range"] == refused["frame"] == refused["resample by few"] == len(places)
        assert (refused["slice"] < refused["range"]) == (key is None)
        for cut in [*range(2, 40), *range(40, len(data), 997)]:
            put(store, data[:cut])
            for name, read in reads(store).items():
                if key is not None or name in ("range", "frame", "resample by few"):
                    with pytest.raises(StorePayloadError):
                        read()
                else:
                    with suppress(StorePayloadError):
                        assert read() == before[name], (name, cut)


@pytest.mark.parametrize("regular", [True, False])
def test_no_summary_with_a_right_checksum_makes_a_raw_error(regular: bool) -> None:
    """Also one that somebody made up."""
    with Store("memory://", frozen=False) as store:
        store.extend("key", noise(regular=regular))
        record = record_of(store)
        flags, whole = store._core.envelope.sealer._unsealed(STREAM, record, record.data)
        summary, rest = (bytes(part) for part in checksums.split(memoryview(whole)))
        rows, times, framed, columns, marks = json.loads(summary)
        ((*column, aggregates),) = columns
        made_up: list[Any] = [
            b"",
            b"{",
            b"\xff",
            b"null",
            [],
            [rows],
            ["x", times, framed, columns, marks],
            [0, times, framed, columns, marks],
            [-1, times, framed, columns, marks],
            [2**70, times, framed, columns, marks],
            [rows, None, framed, columns, marks],
            [rows, times, framed, None, marks],
            [rows, times, framed, [], marks],
            [rows, times, framed, [[]], marks],
            [rows, times, framed, [[*column, 5]], marks],
            [rows, times, framed, [[*column, ["x"] * 6]], marks],
            [rows, times, framed, [[*column, aggregates[1:]]], marks],
            [rows, times, framed, columns, None],
            [rows, times, framed, columns, [2**70]],
            [rows, times, framed, columns, [0.5]],
            [rows, times, framed, columns, [] if marks else [0, 5]],
            [rows, times, framed, columns, marks[:1]],
            [rows, times, framed, columns, marks[::-1]],
        ]
        for each in made_up:
            front = each if isinstance(each, bytes) else json.dumps(each).encode()
            body = Body(flags, checksums.before(front) + rest)
            put(store, store._core.envelope.entry(STREAM, "extend", body, start=record.start, end=record.end).data)
            for read in reads(store).values():
                with suppress(StorePayloadError):
                    read()

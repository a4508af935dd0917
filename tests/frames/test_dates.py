"""Dates in columns: days that are 4 bytes each, and come back as dates of Python."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rstore import Store
from rstore.encoding import columns
from rstore.encoding.columns import Column, Layout, Table, TimeAxis
from tests.conftest import Backend, in_turn
from tests.frames.test_frames import records

DATES = [date(1970, 1, 1), None, date.min, date.max, date(2026, 11, 28)]
AT = pd.to_datetime([1, 2, 3, 4, 5], unit="s").as_unit("s")
TIMES = pa.array(AT, pa.timestamp("s"))  # otherwise the dates would be the times

GIVEN: dict[str, Any] = {
    "pandas": pd.DataFrame({"day": pd.Series(DATES, AT, dtype=object)}),
    "pandas with Arrow": pd.DataFrame({"day": pd.array(DATES, "date32[day][pyarrow]")}, AT),
    "polars": pl.DataFrame({"at": AT.to_numpy().astype("M8[ms]"), "day": DATES}),
    "arrow": pa.table({"at": TIMES, "day": DATES}),
    "arrow in milliseconds": pa.table({"at": TIMES, "day": pa.array(DATES, pa.date64())}),
    "arrow coded": pa.table({"at": TIMES, "day": pa.array(DATES).dictionary_encode()}),
}


@in_turn("name", GIVEN)
def test_dates_come_back_as_dates(store: Store, name: str) -> None:
    store.extend(name, GIVEN[name])
    assert [day for _, day in store.range(name)] == DATES
    assert store.range(name, to="polars")["day"].equals(pl.Series("day", DATES))
    assert store.range(name, to="arrow")["day"].combine_chunks() == pa.array(DATES)
    assert store.range(name, to="numpy")[1].tolist() == DATES
    found = store.range(name, to="pandas")["day"]
    assert found.dtype == ("date32[day][pyarrow]" if name == "pandas with Arrow" else object)
    assert [None if pd.isna(day) else day for day in found] == DATES
    later = ["later", date(2027, 1, 1)]
    store.extend(name, *enumerate(later, 10**6))
    store.compact()
    assert [day for _, day in store.range(name)] == [*DATES, *later]
    assert store.range(name, to="pandas")["day"].tolist()[-2:] == later


def test_dates_take_four_bytes(backend: Backend) -> None:
    store = backend.store()
    dice = np.random.default_rng(1).integers(-700_000, 2_900_000, 10_000)
    store.extend("key", pd.Series(dice.astype("M8[D]").astype(object)))
    assert sum(len(record.data) for record in records(backend, "key")) < 40_300


def test_a_datetime_is_no_date(store: Store) -> None:
    given = [datetime(2026, 1, 1, 12, tzinfo=UTC), date(2026, 1, 1)]
    store.extend("key", (np.array([1, 2]), np.array(given, object)))
    assert [type(day) for _, day in store.range("key")] == [datetime, date]


def test_a_year_that_python_has_not_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        store.extend("key", pa.table({"at": TIMES[:1], "day": pa.array([10**7], pa.int32()).view(pa.date32())}))
    assert store.timeseries() == []


def test_a_day_that_is_no_date_is_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(columns, "DAYS", range(-(2**31), 2**31))
        layout = Layout(TimeAxis(), (Column(None, "date"),))
        data = columns.encode(Table(layout, [[10**7]]), lambda _: b"")
    with pytest.raises(ValueError, match="no date"):
        columns.decode(data, 1, lambda *_: [])


def test_dates_are_read_without_any_library(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        store.extend("key", GIVEN["pandas"])
        expected = store.range("key")
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("numpy", "pandas", "polars", "pyarrow")))
from rstore import Store
with Store({str(tmp_path / "a.db")!r}) as store:
    print(store.range("key"))
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == repr(expected)

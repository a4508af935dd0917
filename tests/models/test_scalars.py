"""What is missing is one question with one answer, and calculations are in Python's numbers, which never overflow."""

from __future__ import annotations

import io
import math
import operator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstore import Store
from rstore.cli.charts import number
from rstore.domain.resampling import HOWS
from rstore.domain.scalars import is_missing, plain
from rstore.history.diff import difference
from rstore.transfer import export_points
from tests.properties.test_properties import SETTINGS

NOTHING = [
    *(None, float("nan"), np.float64("nan"), np.float32("nan"), np.float16("nan"), complex("nan")),
    *(pd.NA, pd.NaT, np.datetime64("NaT", "ns"), np.timedelta64("NaT", "ns"), Decimal("NaN"), Decimal("sNaN")),
]
SOMETHING = [
    0,
    0.0,
    False,
    np.False_,
    "",
    b"",
    [],
    {},
    (),
    np.array([np.nan, 1]),
    np.array([np.nan]),
    np.array(1),
    Decimal(0),
    pd.DataFrame(),
]


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("value", NOTHING, ids=repr)
def test_each_kind_of_nothing_is_missing(value: Any) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", [*SOMETHING, Incomparable()], ids=lambda value: type(value).__name__)
def test_what_is_empty_or_can_not_be_compared_is_there(value: Any) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize("value", NOTHING, ids=repr)
@pytest.mark.parametrize("how", HOWS)
def test_what_is_missing_does_not_count(how: str, value: Any) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", (0, value), (1, 4), (2, value))
        whole = {"open": 4, "high": 4, "low": 4, "close": 4} if how == "ohlc" else 1 if how == "count" else 4
        assert store.resample("key", 10, how) == [(0, whole)]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.float16, np.float32, np.bool_])
@pytest.mark.parametrize("how", ["sum", "mean"])
def test_numbers_of_numpy_are_added_up_in_python(how: str, dtype: Any) -> None:
    """Four times 100 are 400, also where eight bits end at 255, and sums of halves in sixteen bits stand still."""
    values = [dtype(100)] * 4_000
    expected = float(values[0]) * (len(values) if how == "sum" else 1)
    with Store("memory://", frozen=False) as store:
        store.extend("key", *enumerate(values))
        (point,) = store.resample("key", 10_000, how)
        assert point == (0, expected)
        assert type(point[1]) in (int, float)


@given(values=st.lists(st.integers(0, 255), min_size=1, max_size=20), how=st.sampled_from(sorted({*HOWS} - {"ohlc"})))
def test_a_column_of_a_type_and_single_values_come_to_the_same(values: list[int], how: str) -> None:
    scalars = [np.uint8(value) for value in values]
    with Store("memory://", frozen=False) as store:
        store.extend("typed", (np.arange(len(values)), np.array(scalars)))
        store.extend("single", *enumerate(scalars))
        store.extend("plain", *enumerate(values))
        typed, single, plainly = (store.resample(key, 7, how) for key in ("typed", "single", "plain"))
        assert typed == single == plainly


def test_what_lies_between_is_calculated_in_python_too() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", (0, np.uint8(200)), (2, np.uint8(100)))
        assert store.resample("key", 1, "last", "linear") == [(0, 200), (1, 150.0), (2, 100)]


@pytest.mark.parametrize(
    ("function", "old", "value", "new"),
    [
        (operator.add, np.uint8(200), np.uint8(100), 300),
        (operator.sub, np.uint8(1), np.uint8(2), -1),
        (operator.mul, 2, np.int64(2**62), 2**63),
        (operator.add, 16_777_216, np.float32(1), 16_777_217.0),
    ],
)
def test_an_operator_calculates_with_pythons_numbers(function: Any, old: Any, value: Any, new: Any) -> None:
    with Store("memory://", frozen=False) as store:
        store.apply("key", {"n": old})
        assert store.apply("key", {"n": (function, value)}) == {"n": new}
        assert store.current("key") == {"n": new}
    with Store("memory://", frozen=False) as store:
        assert store.apply("key", {"n": old}) == {"n": old}
        assert store.apply("key", {"n": (operator.neg, None)}) == {"n": -int(old)}


def test_what_is_stored_keeps_its_type() -> None:
    with Store("memory://", frozen=False) as store:
        store["n"] = np.uint8(200)
        store.extend("key", (0, np.float32(0.5)))
        store.apply("state", {"n": np.uint8(200)})
        assert type(store["n"]) is type((store.current("state") or {})["n"]) is np.uint8
        assert type(store.range("key")[0][1]) is np.float32


@pytest.mark.parametrize("value", [np.datetime64("2026-11-01", "ns"), np.str_("a"), np.array([1, 2]), "a", Decimal(1)])
def test_what_is_no_number_of_numpy_is_left_as_it_is(value: Any) -> None:
    assert plain(value) is value


@pytest.mark.parametrize("value", NOTHING, ids=repr)
def test_what_is_missing_is_a_gap_in_a_curve_and_no_change(value: Any) -> None:
    assert math.isnan(number(value, "key", 0))
    with Store("memory://", frozen=False) as store:
        store.apply("items", {"a": value, "n": 1}, t=1)
        store.apply("items", {"a": value, "n": 2}, t=2)
        assert difference(store.past("items", 1) or {}, store.past("items", 2) or {}).changed == {"n": (1, 2)}


@pytest.mark.parametrize("value", [pd.NA, pd.NaT, np.datetime64("NaT", "ns"), Decimal("NaN"), Decimal("sNaN"), None])
def test_what_is_missing_and_no_float_is_an_empty_cell(value: Any) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", (0, value), (1, 2))
        file = io.StringIO()
        export_points(store, "key", file)
        assert file.getvalue().splitlines()[1:] == ["0,", "1,2"]


def test_numbers_of_numpy_are_cells_of_the_same_value() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", (0, np.float32(0.1)), (1, np.uint8(7)), (2, np.True_), (3, np.float32("nan")))
        file = io.StringIO()
        export_points(store, "key", file)
        assert file.getvalue().splitlines()[1:] == ["0,0.10000000149011612", "1,7", "2,True", "3,nan"]


WIDTHS: dict[str, st.SearchStrategy[Any]] = {
    **{f"u{size}": st.integers(0, 2 ** (8 * size) - 1) for size in (1, 2, 4, 8)},
    **{f"i{size}": st.integers(-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1) for size in (1, 2, 4, 8)},
    "f4": st.floats(width=32, allow_infinity=False),
    "f8": st.floats(allow_infinity=False, min_value=-1e300, max_value=1e300),
    "?": st.booleans(),
}


@SETTINGS
@given(st.sampled_from(sorted(WIDTHS)), st.sampled_from(sorted(HOWS)), st.data())
def test_columns_and_single_scalars_resample_to_the_same(dtype: str, how: str, data: Any) -> None:
    array = np.array(data.draw(st.lists(WIDTHS[dtype], min_size=1, max_size=20)), dtype)
    times = np.arange(len(array))
    with Store("memory://", frozen=False) as store:
        store.extend("columns", (times, array))
        store.extend("scalars", list(zip(times.tolist(), array, strict=True)))
        of_columns, of_scalars = store.resample("columns", 4, how), store.resample("scalars", 4, how)
        assert len(of_columns) == len(of_scalars)
        for (time, column), (other, scalar) in zip(of_columns, of_scalars, strict=True):
            assert time == other
            assert repr(plain(scalar)) == repr(plain(column))
            assert how in ("first", "last") or type(scalar) is type(column)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_where_only_numpy_has_a_result_that_is_the_result() -> None:
    with Store("memory://", frozen=False) as store:
        store.apply("key", {"n": np.float64(1)})
        assert store.apply("key", {"n": (operator.truediv, 0)}) == {"n": math.inf}


def test_a_scalar_beside_an_array_is_what_it_was() -> None:
    with Store("memory://", frozen=False) as store:
        store.apply("key", {"n": np.array([1, 2], np.float32)})
        state = store.apply("key", {"n": (operator.mul, np.float64(0.1))})
        assert state is not None
        assert state["n"].dtype == np.float64

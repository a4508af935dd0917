"""Values become texts in the order of the values, whatever their type."""

from __future__ import annotations

import datetime
import enum
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore.encoding.ordered_texts import HIGHEST, SEPARATOR, cut, ordered_text

NUMBERS = (
    st.integers()
    | st.booleans()
    | st.integers(min_value=-(10**60), max_value=10**60)
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions()
)
OFFSETS = st.timezones() | st.none()
ZONES = st.integers(-1439, 1439).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
KINDS = {
    "numbers": NUMBERS,
    "texts": st.text(st.characters(exclude_categories=())),
    "low texts": st.text(st.sampled_from("\0\1\2\3\4ab\ud7ff\ud800\udfff\ue000\U0010fffd\U0010fffe\U0010ffff")),
    "bytes": st.binary(),
    "dates": st.dates(),
    "naive": st.datetimes(),
    "aware": st.datetimes(timezones=ZONES),
    "times": st.times(),
    "times elsewhere": st.times(timezones=ZONES),
    "durations": st.timedeltas(),
    "uuids": st.uuids(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_texts_is_that_of_the_values(kind: str) -> None:
    @settings(max_examples=150)
    @given(KINDS[kind], KINDS[kind])
    def check(one: Any, other: Any) -> None:
        texts = ordered_text(one), ordered_text(other)
        assert (texts[0] == texts[1]) == (one == other), texts
        assert (texts[0] < texts[1]) == (one < other), texts
        # as keys of an index: a text, a separator, and any key
        keys = f"{texts[0]}{SEPARATOR}z", f"{texts[1]}{SEPARATOR}"
        assert one == other or (keys[0] < keys[1]) == (one < other), keys

    check()


@settings(max_examples=50)
@given(st.one_of(*KINDS.values()))
def test_a_text_can_be_the_beginning_of_a_key(value: Any) -> None:
    text = ordered_text(value)
    assert text
    assert not set(text) & {"\0", SEPARATOR, HIGHEST}
    assert len(cut(text).encode()) < 600


def test_numbers_of_odd_sizes_are_in_order() -> None:
    values = [
        *(-math.inf, Decimal("-1e999999"), -(10**9000) - 1, -(10**9000), -1.5, -1, Fraction(-1, 3), -5e-324),
        *(0, Decimal("1e-999"), 5e-324, Fraction(1, 3), Decimal("0.34"), True, Decimal("1.01"), 10**5000, 10**5000 + 1),
    ]
    texts = list(map(ordered_text, values))
    assert texts == sorted(texts)
    assert ordered_text(Decimal(f"-{'1' * 90}1")) > ordered_text(Decimal(f"-{'1' * 90}2"))
    assert ordered_text(Decimal("sNaN")) == ordered_text(math.nan)
    assert ordered_text(0.0) == ordered_text(-0.0) == ordered_text(False) == ordered_text(Decimal("-0.00"))
    assert ordered_text(Fraction(1, 2)) == ordered_text(0.5) == ordered_text(Decimal("0.50"))
    assert ordered_text(0.1) != ordered_text(Decimal("0.1"))
    assert ordered_text(math.nan) > ordered_text(math.inf)
    assert len({ordered_text(Fraction(1, 3)), ordered_text(Fraction(10**300 + 1, 3 * 10**300))}) == 2


def test_enums_are_their_values_and_other_types_are_refused() -> None:
    class Level(enum.IntEnum):
        LOW = 1

    class Color(enum.Enum):
        RED = "red"

    assert (ordered_text(Level.LOW), ordered_text(Color.RED)) == (ordered_text(1), ordered_text("red"))
    for wrong in ([], {}, object(), 1j, (1,)):
        with pytest.raises(TypeError, match=f"{type(wrong).__name__} has no order here: those of bool, int"):
            ordered_text(wrong)


def test_long_texts_are_cut_and_stay_apart() -> None:
    one, other = "a" * 1000, "a" * 999 + "b"
    assert cut(one) != cut(other)
    assert len(cut(one)) == len(cut(other)) < 200
    assert cut("a" * 100) < cut(one) < cut("a" * 99 + "b")

"""Times, values and changes as users type them."""

from __future__ import annotations

import math
import operator
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from rstore.cli.charts import Curve, characters, common_unit
from rstore.cli.columns import stamps
from rstore.cli.times import parse_time
from rstore.text.changes import parse_changes
from rstore.text.times import show_time, write_time
from rstore.text.units import MICROSECONDS, MILLISECONDS, NANOSECONDS, SECONDS, recognised
from rstore.text.values import parse_value, show_value, to_json
from tests.support.command import NOW


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-11-01 09:00"),
        ("today", "2026-11-01 00:00"),
        ("Yesterday", "2026-10-31 00:00"),
        ("tomorrow 7:30", "2026-11-02 07:30"),
        ("07:30:15", "2026-11-01 07:30:15"),
        ("2026-10-01", "2026-10-01 00:00"),
        ("2026-10-01 08:15", "2026-10-01 08:15"),
        ("2026-10-01T08:15:30.250", "2026-10-01 08:15:30.250"),
        ("2026-10-01T08:15+02:00", "2026-10-01 06:15"),
        ("20261001T0815Z", "2026-10-01 08:15"),
        ("90 s ago", "2026-11-01 08:58:30"),
        ("an hour ago", "2026-11-01 08:00"),
        ("36h ago", "2026-10-30 21:00"),
        ("3 days ago", "2026-10-29 09:00"),
        ("2 weeks ago", "2026-10-18 09:00"),
        ("8 months ago", "2026-03-01 09:00"),
        ("2 years ago", "2024-11-01 09:00"),
        ("1000", "1970-01-01 00:00:01"),
        ("-1000", "1969-12-31 23:59:59"),
    ],
)
def test_times(text: str, meant: str) -> None:
    expected = datetime.fromisoformat(meant).replace(tzinfo=UTC)
    assert parse_time(text, NOW) == round(expected.timestamp() * 1000)


@pytest.mark.parametrize(
    "text", ["", "soon", "3 moons ago", "ago", "2026-13-01", "25:00", "yesterday 25:00", "9" * 30, "9999999 years ago"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        parse_time(text, NOW)


def test_a_day_ends_at_midnight_where_the_user_is(berlin: None) -> None:
    assert parse_time("2026-11-01 10:00", NOW) == NOW
    hours = (NOW - parse_time("8 days ago", NOW)) / 3_600_000
    assert hours == 8 * 24 + 1  # summer time ended in between: at the same time of the day
    assert (show_time(NOW), write_time(NOW)) == ("2026-11-01 10:00:00.000", "2026-11-01T10:00:00.000+01:00")


def test_of_an_hour_that_comes_twice_the_first_is_taken_and_told(
    berlin: None, capsys: pytest.CaptureFixture[str]
) -> None:
    first = parse_time("2026-10-25 02:30", NOW)
    assert first == parse_time("2026-10-25T02:30+02:00", NOW) == parse_time("2026-10-25 02:30", NOW)
    assert capsys.readouterr().err == (
        "rstore: that time comes twice here, and 2026-10-25 02:30:00+02:00 is taken: "
        "for the other, say 2026-10-25 02:30:00+01:00\n"
    )
    assert parse_time("2026-10-25 02:30:00+01:00", NOW) == first + 3_600_000
    parse_time("2026-10-25 03:00", NOW)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["2026-03-29 02:30", "2026-03-29T02:00"])
def test_a_time_that_summer_time_passed_over_is_no_time(berlin: None, text: str) -> None:
    with pytest.raises(ValueError, match="because clocks were put forward: write it with an offset"):
        parse_time(text, NOW)
    assert parse_time(f"{text}+01:00", NOW) == parse_time(text.replace("02:", "03:"), NOW)
    assert parse_time("2026-10-25 02:30", NOW) == parse_time("2026-10-25 02:30+02:00", NOW)  # the first of the two


def test_the_end_of_a_shorter_month() -> None:
    end_of_march = round(datetime(2026, 3, 31, tzinfo=UTC).timestamp() * 1000)
    assert show_time(parse_time("1 month ago", end_of_march)) == "2026-02-28 00:00:00.000"


def test_times_beyond_the_calendar_are_numbers() -> None:
    assert (show_time(2**63 - 1), write_time(-(2**63))) == (str(2**63 - 1), str(-(2**63)))
    assert show_time(-1) == "1969-12-31 23:59:59.999"


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -1.5, 10**30, "", " ", "Ada Lovelace", "12", "null", '"', "a\nb", "NaN", "über", "\x1b"),
        *([1, [2]], {"a": {"b": []}}, {"": None}),
    ],
)
def test_what_is_shown_can_be_typed(value: Any) -> None:
    shown = show_value(value)
    assert shown.isprintable()
    assert (parse_value(shown), type(parse_value(shown))) == (value, type(value))


class Odd:
    def __repr__(self) -> str:
        return "<odd\x1b[2J\nthing>"


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, math.nan, math.inf, b"x", {"a": {1}}, [(1,)], Odd()])
def test_what_is_no_json_is_shown_as_python_does(value: Any) -> None:
    assert to_json(value) == {"repr": repr(value)}
    assert show_value(value).isprintable()


@pytest.mark.parametrize(
    ("word", "item", "change"),
    [
        ("a=1", "a", (operator.setitem, 1)),
        ("a=", "a", (operator.setitem, "")),
        ("a=b=c", "a", (operator.setitem, "b=c")),
        ("a=-1", "a", (operator.setitem, -1)),
        ("a-=1", "a", (operator.sub, 1)),
        ("my-item=1", "my-item", (operator.setitem, 1)),
        ("my item+=[2]", "my item", (operator.add, [2])),
        ("a*=2", "a", (operator.mul, 2)),
        ("a**=2", "a", (operator.pow, 2)),
        ("a/=2", "a", (operator.truediv, 2)),
        ("a//=2", "a", (operator.floordiv, 2)),
        ("a<<=2", "a", (operator.lshift, 2)),
        ("a:mul=2", "a", (operator.mul, 2)),
        ("a:and_=2", "a", (operator.and_, 2)),
        ("a:b=2", "a:b", (operator.setitem, 2)),
        ("a:neg", "a", (operator.neg, None)),
        ("~a=1", "a=1", (operator.delitem, None)),
        ("=1", "", (operator.setitem, 1)),
    ],
)
def test_changes(word: str, item: str, change: Any) -> None:
    assert parse_changes([word]) == {item: change}


@pytest.mark.parametrize("word", ["a", "a:mul", "", "a:b"])
def test_what_is_no_change(word: str) -> None:
    with pytest.raises(ValueError, match="is no change: write item=value"):
        parse_changes([word])


def test_a_series_may_begin_before_its_unit_can_be_told() -> None:
    early = -600_000_000_000
    old, new = Curve("old", [early, NOW], [1.0, 2.0]), Curve("new", [NOW - 1000, NOW], [1.0, 2.0])
    assert common_unit([old, new]) == MILLISECONDS
    assert "1950-12-27" in characters([old, new], colours=False)
    assert stamps(MILLISECONDS).terminal(early) == "1950-12-27 13:20:00.000"
    assert common_unit([old, Curve("seconds", [NOW // 1000], [1.0])]) is None
    assert common_unit([Curve("old", [-(2**63), NOW], [1.0, 2.0])]) is None


def test_units() -> None:
    seconds = NOW // 1000
    assert [recognised(seconds * unit) for unit in (1, 10**6, 10**9)] == [SECONDS, MICROSECONDS, NANOSECONDS]
    assert recognised(seconds, NOW) is None
    assert recognised(10**20) is None
    assert (NANOSECONDS.from_ms(5), NANOSECONDS.to_ms(5_999_999)) == (5_000_000, 5)

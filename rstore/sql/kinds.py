"""The types of columns: one type where all values agree on it, and JSON texts otherwise."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa

from rstore.domain.errors import StoreError
from rstore.domain.scalars import is_missing, plain

Values: TypeAlias = "list[Any] | pa.Array"
"""The values of a column: those of Python, in which None is NULL, or an array of Arrow."""

_DIGITS: Final = 38


class Kind(NamedTuple):
    """The type of a column: one of Arrow. ``is_json`` tells JSON from the texts that users store."""

    type: Any
    is_json: bool = False


NOTHING: Final = Kind(pa.null())
"""The kind of a column without a value."""
JSON: Final = Kind(pa.string(), True)
TEXT: Final = Kind(pa.string())
INT: Final = Kind(pa.int64())
FLOAT: Final = Kind(pa.float64())
MOMENT: Final = Kind(pa.timestamp("us", "UTC"))
"""A moment, such as the time at which a record was stored."""


class MisfitError(Exception):
    """Values are of other kinds than those with which a query began. ``kinds`` holds the new kinds, by column."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        super().__init__(kinds)
        self.kinds = kinds


# -- which kind -------------------------------------------------------------------------------------------------------


def joint(first: Kind, second: Kind) -> Kind:
    """Return the kind that has the values of both.

    >>> joint(INT, FLOAT) == FLOAT, joint(INT, NOTHING) == INT, joint(INT, TEXT) == JSON
    (True, True, True)
    """
    if second in (first, NOTHING):
        return first
    if first == NOTHING:
        return second
    if first.is_json or second.is_json:
        return JSON
    types = first.type, second.type
    found = next((join(*types) for matches, join in _JOINS if all(map(matches, types))), None)
    return JSON if found is None else Kind(found)


def _is_number(of_type: Any) -> bool:
    return bool(pa.types.is_integer(of_type) or pa.types.is_floating(of_type))


def _wider(first: Any, second: Any) -> Any:
    if pa.types.is_integer(first) and pa.types.is_integer(second):
        return None if pa.uint64() in (first, second) else pa.int64()
    return pa.float64()


_JOINS: Final[Sequence[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]]]] = (
    (_is_number, _wider),
    (pa.types.is_decimal, lambda first, second: pa.decimal128(_DIGITS, max(first.scale, second.scale))),
    (
        pa.types.is_timestamp,
        lambda first, second: pa.timestamp("ns", first.tz) if first.tz == second.tz else None,
    ),
)
"""Types that have a common one: a test of both types, and a function that returns the common type."""


def kind_of(values: Values) -> Kind:
    """Return the kind of values.

    >>> [kind_of(values) == kind for values, kind in (([1, None], INT), ([1, 'a'], JSON), ([], NOTHING))]
    [True, True, True]
    """
    if isinstance(values, pa.Array):
        return Kind(values.type)
    types = set(map(type, values)) - {type(None)}
    return reduce(joint, (_kind_of_type(each, values) for each in types), NOTHING)


def _kind_of_type(of_type: type, values: list[Any]) -> Kind:
    known = _KINDS.get(of_type)
    if isinstance(known, Kind):
        return known
    return JSON if known is None else known([value for value in values if type(value) is of_type])


def _of_ints(ints: list[int]) -> Kind:
    return INT if min(ints) >= -(2**63) and max(ints) < 2**63 else JSON


def _of_datetimes(times: list[datetime.datetime]) -> Kind:
    are_aware = {time.utcoffset() is not None for time in times}
    return JSON if len(are_aware) > 1 else Kind(pa.timestamp("us", "UTC" if are_aware.pop() else None))


def _of_decimals(numbers: list[Decimal]) -> Kind:
    if not all(number.is_finite() for number in numbers):
        return JSON
    scale = max(0, *(-int(number.as_tuple().exponent) for number in numbers))
    digits = max(max(0, number.adjusted() + 1) for number in numbers)
    return Kind(pa.decimal128(_DIGITS, scale)) if digits + scale <= _DIGITS else JSON


def _of_texts(texts: list[str]) -> Kind:
    return TEXT if all(map(_is_unicode, texts)) else JSON


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_KINDS: Final[dict[type, Kind | Callable[[Any], Kind]]] = {
    bool: Kind(pa.bool_()),
    int: _of_ints,
    float: FLOAT,
    str: _of_texts,
    bytes: Kind(pa.binary()),
    Decimal: _of_decimals,
    datetime.datetime: _of_datetimes,
    datetime.date: Kind(pa.date32()),
    datetime.time: Kind(pa.time64("us")),
    datetime.timedelta: Kind(pa.duration("us")),
}
"""The kind of each type that has one in SQL, or a function of its values that returns it. All others become JSON."""


# -- arrays -----------------------------------------------------------------------------------------------------------


def array_of(column: str, values: Values, kind: Kind) -> Any:
    """Return values as an array of a kind.

    Raises:
        MisfitError: they are of another kind; the error holds the kind that has both.
    """
    own = kind_of(values)
    wanted = joint(kind, own)
    if kind.is_json:
        listed = values.to_pylist() if isinstance(values, pa.Array) else values
        return pa.array([None if value is None else json_text(value) for value in listed], pa.string())
    if wanted != kind:
        raise MisfitError({column: wanted})
    try:  # Arrow refuses an int that is no float
        return _cast(values, kind.type) if isinstance(values, pa.Array) else pa.array(values, kind.type)
    except (pa.ArrowException, OverflowError, ValueError):
        raise MisfitError({column: JSON}) from None


def _cast(array: Any, of_type: Any) -> Any:
    return array if array.type == of_type else array.cast(of_type)


def cleaned(values: list[Any]) -> list[Any]:
    """Return values of users as Python has them: numbers of NumPy as Python's, and None for those that are missing.

    >>> cleaned([1, None, 'a', float('nan')])
    [1, None, 'a', None]
    """
    types = set(map(type, values))
    if float in types:
        values = [None if value != value else value for value in values]  # noqa: PLR0124
    return values if types <= _KNOWN else list(map(_cleaned, values))


_KNOWN: Final = frozenset({*_KINDS, dict, list, type(None)}) - {Decimal}


def _cleaned(value: Any) -> Any:
    if type(value) in _KNOWN:
        return value
    return None if is_missing(value) else plain(value)


# -- JSON -------------------------------------------------------------------------------------------------------------


def json_text(value: Any) -> str:
    """Return a value as JSON; one that JSON has no form for as ``{"repr": ...}``.

    >>> json_text({'a': [1, None], 'at': datetime.date(2026, 5, 1)}), json_text({1, }), json_text(float('nan'))
    ('{"a":[1,null],"at":"2026-05-01"}', '{"repr":"{1}"}', '"nan"')
    """
    try:
        text = _STRICT.encode(value)
    except (TypeError, ValueError, RecursionError):
        text = _encoded(value)
    return text if _is_unicode(text) else json.dumps(json.loads(text))


def _encoded(value: Any) -> str:
    try:
        return _STRICT.encode(_with_finite_floats(value))
    except (TypeError, ValueError, RecursionError):
        return _STRICT.encode({"repr": _repr(value)})


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except (StoreError, MemoryError):  # of a store that the value reads, or of the process: not of the value
        raise
    except Exception:  # the class of a user may raise any other, and its type is all that can be shown then
        return f"<{type(value).__name__}>"


def _with_finite_floats(value: Any) -> Any:
    """Return a value with texts in place of NaN and infinite floats, which JSON has no form for."""
    if isinstance(value, float):
        return value if value - value == 0 else str(float(value))
    if isinstance(value, dict):
        return {key: _with_finite_floats(each) for key, each in value.items()}
    return list(map(_with_finite_floats, value)) if isinstance(value, list | tuple) else value


def _json_form(value: Any) -> Any:
    """Return a value that JSON has no form for as one that has; see ``json.JSONEncoder``."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal | uuid.UUID):
        return str(value)
    form = plain(value)
    if form is value:
        raise TypeError
    return form


_STRICT: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_json_form)

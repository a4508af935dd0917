"""Which values are equal to a reader of a store: of the same type, and no call tells them apart."""

from __future__ import annotations

import datetime
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import eq
from typing import Any, Final

from rstore.domain.errors import StoreError
from rstore.encoding.columns import OBJECT, Table


def are_equal(one: Any, other: Any) -> bool:
    """Tell whether two values are of the same type and equal, in all that they hold.

    NaN is equal to NaN, and 0.0 is not equal to -0.0. Of other types than those of the table below the pickles decide,
    since an ``__eq__`` may call different values equal. Values that cannot be compared are not equal: so the new one is
    stored once more, and none is lost.

    Args:
        one: a value that is not stored yet.
        other: a value as it was read.

    >>> are_equal({'a': [1, math.nan]}, {'a': [1, math.nan]}), are_equal(1, 1.0), are_equal([0.0], [-0.0])
    (True, False, False)
    """
    try:
        return _are_equal(one, other)
    except (StoreError, MemoryError):  # of a store that a user's type reads, or of the process: not of the values
        raise
    except Exception:  # whatever a user's type raises while it is pickled, or RecursionError of a deep value
        return False


def read_back(values: Sequence[Any], as_read: Callable[[Any], Any]) -> Sequence[Any]:
    """Return the values of a segment as they would be read after it was stored.

    Args:
        as_read: does so for a value without a type. Typed columns stay as they are.
    """
    if not isinstance(values, Table):
        return list(map(as_read, values))
    columns = zip(values.layout.columns, values.data, strict=True)
    data = [list(map(as_read, each)) if column.kind == OBJECT else each for column, each in columns]
    return Table(values.layout, data, values.absent)


def _are_equal(one: Any, other: Any) -> bool:
    cls = type(one)
    return cls is type(other) and _COMPARED.get(cls, _same_pickle)(one, other)


def _same_float(one: float, other: float) -> bool:
    if one == other:
        return one != 0 or math.copysign(1, one) == math.copysign(1, other)
    return math.isnan(one) and math.isnan(other)


def _same_items(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(map(_are_equal, one, other))


def _same_dict(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    if not set(map(type, (*one, *other))) <= {str}:  # 1 and True are one key
        return _same_items([*one.items()], [*other.items()])
    return one.keys() == other.keys() and all(_are_equal(value, other[name]) for name, value in one.items())


def _same_set(one: AbstractSet[Any], other: AbstractSet[Any]) -> bool:
    twins = {item: item for item in other}  # sets that are equal may come in different orders
    return len(one) == len(other) and all(item in twins and _are_equal(item, twins[item]) for item in one)


def _same_pickle(one: Any, other: Any) -> bool:
    here, there = _pickled(one), _pickled(other)
    return here == there or _pickled(pickle.loads(here)) == there  # noqa: S301  # a view of an array becomes an array


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


_COMPARED: Final[Mapping[type, Callable[[Any, Any], bool]]] = {
    **dict.fromkeys((int, bool, str, bytes, type(None), datetime.date), eq),
    float: _same_float,
    list: _same_items,
    tuple: _same_items,
    dict: _same_dict,
    set: _same_set,
    frozenset: _same_set,
}

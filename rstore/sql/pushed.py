"""Pushdown: the filters that DuckDB hands to a scan tell which keys and times the log is asked for.

DuckDB hands them over as an expression of Arrow, which can be pickled but not taken apart. So this module reads the
pickled form, which is a record batch. The literals are its columns, and its metadata are the expression, from left to
right. A condition that this module does not understand restricts nothing: the log reads more, and Arrow filters it.

Rejected: the text of an expression, in which a key may look like an operator. Rejected: the query itself, in which a
condition on a key need not be one on the rows of a table.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa


class Bound(NamedTuple):
    """Which values a column may have: those in a set, if there is one, and from ``low`` to ``high``, where not None.

    Texts are compared by code points, and times are ints of the column's unit.
    """

    values: frozenset[Any] | None = None
    low: Any = None
    high: Any = None

    def both(self, other: Bound) -> Bound:
        """Return the bound of the values that meet this one and the other."""
        if self.values is None or other.values is None:
            values = self.values if other.values is None else other.values
        else:
            values = self.values & other.values
        low, high = (pick(*each) for pick, each in ((_most, (self.low, other.low)), (_least, (self.high, other.high))))
        return Bound(values, low, high)

    def either(self, other: Bound) -> Bound:
        """Return a bound of at least the values that meet this one or the other."""
        values = None if self.values is None or other.values is None else self.values | other.values
        low = None if self.low is None or other.low is None else min(self.low, other.low)
        high = None if self.high is None or other.high is None else max(self.high, other.high)
        return Bound(values, low, high)

    def has(self, value: Any) -> bool:
        """Tell whether a value is one of these."""
        return (
            (self.values is None or value in self.values)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
        )


ANY: Final = Bound()


def _most(first: Any, second: Any) -> Any:
    return first if second is None or (first is not None and first > second) else second


def _least(first: Any, second: Any) -> Any:
    return first if second is None or (first is not None and first < second) else second


Bounds: TypeAlias = Mapping[str, Bound]


class Pushed(NamedTuple):
    """A filter: the bounds of columns, and all columns in it; None if it is not understood."""

    bounds: Bounds = MappingProxyType({})
    columns: frozenset[str] | None = frozenset()

    def of(self, column: str) -> Bound:
        """Return the bound of a column."""
        return self.bounds.get(column, ANY)


EVERYTHING: Final = Pushed()
_UNKNOWN_FORM: Final = (AttributeError, LookupError, NotImplementedError, OSError, StopIteration, TypeError, ValueError)
"""The errors of a pickled form that is read as another one. Those of Arrow are among them."""


def pushed_by(expression: Any) -> Pushed:
    """Return a filter, as far as it is understood.

    >>> import pyarrow.compute as pc
    >>> found = pushed_by((pc.field('key') == 'a') & (pc.field('t') >= 5) & (pc.field('value') > pc.field('t')))
    >>> found.of('key'), found.of('t'), sorted(found.columns)
    (Bound(values=frozenset({'a'}), low='a', high='a'), Bound(values=None, low=5, high=None), ['key', 't', 'value'])
    """
    if expression is None:
        return EVERYTHING
    try:
        tree = _tree_of(expression)
        return Pushed(_bounds(tree), frozenset(_fields(tree)))
    except _UNKNOWN_FORM:  # of another version of Arrow: then the query reads more, and no row is lost
        return Pushed({}, None)


# -- bounds -----------------------------------------------------------------------------------------------------------


class _Field(NamedTuple):
    name: str


class _Literal(NamedTuple):
    value: Any


class _Call(NamedTuple):
    function: str
    arguments: Sequence[Any]
    options: Any


def _bounds(tree: Any) -> Bounds:
    if not isinstance(tree, _Call) or tree.function not in _BOUNDS:
        return {}
    return _BOUNDS[tree.function](tree)


def _of_and(tree: _Call) -> Bounds:
    first, second = map(_bounds, tree.arguments)
    return {name: first.get(name, ANY).both(second.get(name, ANY)) for name in {*first, *second}}


def _of_or(tree: _Call) -> Bounds:
    first, second = map(_bounds, tree.arguments)
    return {name: first[name].either(second[name]) for name in {*first} & {*second}}


def _of_comparison(bound: Callable[[Any], Bound]) -> Callable[[_Call], Bounds]:
    def bounds(tree: _Call) -> Bounds:
        field, literal = tree.arguments
        is_simple = isinstance(field, _Field) and isinstance(literal, _Literal) and literal.value is not None
        return {field.name: bound(literal.value)} if is_simple else {}

    return bounds


def _of_is_in(tree: _Call) -> Bounds:
    (field,) = tree.arguments
    if not isinstance(field, _Field):
        return {}
    values = [each for each in map(_plain, tree.options["value_set"].values) if each is not None]
    return {field.name: Bound(frozenset(values), min(values), max(values))} if values else {}


_BOUNDS: Final[Mapping[str, Callable[[_Call], Bounds]]] = {
    "and_kleene": _of_and,
    "or_kleene": _of_or,
    "equal": _of_comparison(lambda value: Bound(frozenset((value,)), value, value)),
    "less": _of_comparison(lambda value: Bound(high=value)),
    "less_equal": _of_comparison(lambda value: Bound(high=value)),
    "greater": _of_comparison(lambda value: Bound(low=value)),
    "greater_equal": _of_comparison(lambda value: Bound(low=value)),
    "is_in": _of_is_in,
    "if_else": lambda tree: _bounds(tree.arguments[1]),  # DuckDB's IN: NULL in place of false where a value is NULL
}
"""The bounds of each function. A bound may have more values than the filter lets through, and never fewer."""


def _fields(tree: Any) -> Iterator[str]:
    if isinstance(tree, _Field):
        yield tree.name
    for each in tree.arguments if isinstance(tree, _Call) else ():
        yield from _fields(each)


# -- the pickled form -------------------------------------------------------------------------------------------------


def _tree_of(expression: Any) -> Any:
    _, (data, *_) = expression.__reduce__()
    with pa.ipc.open_file(data) as reader:
        batch = reader.get_batch(0)
        words = _metadata(reader.schema)
    tree = _parse(words, batch)
    if next(words, None) is not None:
        raise ValueError("there is more than one expression")
    return tree


def _parse(words: Iterator[tuple[str, str]], batch: Any) -> Any:
    word, value = next(words)
    if word == "field_ref":
        return _Field(value)
    if word == "literal":
        return _Literal(_plain(batch.column(int(value))[0]))
    if word == "options":
        return batch.column(int(value))[0]
    if word == "end":
        return None
    if word != "call":
        raise ValueError(f"{word} is not known")
    arguments, options = [], None
    while (part := _parse(words, batch)) is not None:
        if isinstance(part, _Field | _Literal | _Call):
            arguments.append(part)
        else:
            options = part
    return _Call(value, arguments, options)


def _plain(scalar: Any) -> Any:
    """Return the value of a scalar; that of a time as an int of its unit."""
    return scalar.value if pa.types.is_timestamp(scalar.type) else scalar.as_py()


def _metadata(schema: Any) -> Iterator[tuple[str, str]]:
    """Return the metadata of a schema as pairs. A key may come several times, so pyarrow's dict would lose some.

    Arrow's C data interface lays them out: their number, and then key and value, each after its length.
    """
    capsule = schema.__arrow_c_schema__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    _, _, begin = (ctypes.c_void_p * 3).from_address(pointer(capsule, b"arrow_schema"))
    if begin is None:
        return iter(())
    texts = list[str]()
    count, at = _int_at(begin), begin + 4
    for _ in range(2 * count):
        size = _int_at(at)
        texts.append(ctypes.string_at(at + 4, size).decode())
        at += 4 + size
    return iter(list(zip(texts[::2], texts[1::2], strict=True)))


def _int_at(address: int) -> int:
    return ctypes.c_int32.from_address(address).value

"""Columns of values as the arrays of PostgreSQL's binary format.

Rejected: lists. The driver asks for the type of each element, which takes five times as long. It can't know that of a
column that is empty, or holds nothing but None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from struct import Struct
from typing import Any, Final

from attrs import frozen
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD: Final = Struct(">5i").pack  # dimensions, whether there is a NULL, type and number of elements, the first index
_LENGTH: Final = Struct(">i").pack
_NULL: Final = _LENGTH(-1)


def _sized(data: bytes) -> bytes:
    return _LENGTH(len(data)) + data


class Array(bytes):
    """An array as it is sent. The statement says of which type it is."""


class ArrayDumper(Dumper):
    """Tells the driver how to send an array: as it is."""

    format = Format.BINARY

    def dump(self, obj: Array) -> Array:
        return obj


@frozen
class Column:
    """A type of columns: the number of its type in PostgreSQL, and how a value is packed."""

    number: int
    packed: Callable[[Any], bytes]

    def of(self, values: Iterable[Any]) -> Array:
        """Return values as an array; None is NULL."""
        packed = self.packed
        parts = [_NULL if value is None else packed(value) for value in values]
        return Array(b"".join([_HEAD(1, _NULL in parts, self.number, len(parts), 1), *parts]))


BIGINTS: Final = Column(20, partial(Struct(">iq").pack, 8))
BOOLEANS: Final = Column(16, (b"\0\0\0\1\0", b"\0\0\0\1\1").__getitem__)
BYTEAS: Final = Column(17, _sized)
TEXTS: Final = Column(25, lambda text: _sized(text.encode()))

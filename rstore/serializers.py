"""Stores whose values are data and nothing else: safe to read where others can write."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from rstore.domain.errors import StoreNotAvailableError
from rstore.store import Store


class JsonStore(Store):
    """A store that keeps values as JSON: None, bool, int, float, str, lists, and dicts with str as keys.

    As ever with JSON, a value of another type comes back as one of these. Tuples become lists. Members of enums of str
    or int, and other subclasses, become their str or int. Numbers, bools and None become texts as keys of dicts, and
    two keys that would become the same text raise a ValueError. NaN and infinities come back. They are written as
    Python writes them, which not every other reader of JSON takes.

    >>> with JsonStore('memory://', frozen=False) as store:
    ...     store['numbers'] = [1, 2.5, None]
    ...     store['numbers']
    [1, 2.5, None]
    """

    def _dump(self, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        _check_keys(value)
        return text

    def _load(self, data: str) -> Any:
        return json.loads(data)


_STR: Final = frozenset({str})
_LEAVES: Final = frozenset({type(None), bool, int, float, str})


def _check_keys(value: Any) -> None:
    """Raise if a dict has keys that JSON does not tell apart: only the last of them would come back."""
    if isinstance(value, dict):
        if not _STR.issuperset(map(type, value)):
            names = [str.__str__(key) if isinstance(key, str) else json.dumps(key) for key in value]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"two keys of a dict are both {twice!r} in JSON: make one of them another str")
        inside: Collection[Any] = value.values()
    else:
        inside = value if isinstance(value, list | tuple) else ()
    if not _LEAVES.issuperset(map(type, inside)):
        for each in inside:
            _check_keys(each)


class MsgpackStore(Store):
    """A store that keeps values as MessagePack: smaller and faster than JSON, and with more types.

    Needs msgspec: ``pip install 'rlib-store[msgpack]'``.

    These types come back equal and of the same type, also as keys of dicts: None, bool, int, float, complex, Decimal,
    Fraction, str, bytes, bytearray, list, tuple, set, frozenset, dict, date, time, datetime, timedelta and UUID. A time
    zone comes back if it is one of :mod:`zoneinfo`, else as its offset.

    A value of another type raises a TypeError, which names the type and says what to store instead. So does one of a
    subclass, such as a member of an enum. A ``msgspec.msgpack.Ext`` comes back unless its code is 33 to 47, which are
    rstore's own.

    >>> from decimal import Decimal
    >>> with MsgpackStore('memory://', frozen=False) as store:
    ...     store['picture'] = {'size': (1, 2), 'pixels': bytes(2), 'price': Decimal('1.10')}
    ...     store['picture']
    {'size': (1, 2), 'pixels': b'\\x00\\x00', 'price': Decimal('1.10')}
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            from rstore.encoding.msgpack_values import Packer

            packer = Packer()
        except ImportError as exc:
            raise StoreNotAvailableError(
                "MsgpackStore needs the package msgspec: pip install 'rlib-store[msgpack]'"
            ) from exc
        self._pack, self._unpack = packer.pack, packer.unpack
        super().__init__(*args, **options)

    def _dump(self, value: Any) -> bytes:
        return self._pack(value)

    def _load(self, data: bytes) -> Any:
        return self._unpack(data)

"""Stores whose values are data and nothing else: safe to read from where others can write."""

from __future__ import annotations

import json
from typing import Any

from rstore.domain.errors import StoreNotAvailableError
from rstore.store import Store


class JsonStore(Store):
    """A store that keeps values as JSON: None, bool, int, float, str, lists, and dicts with str as keys.

    As ever with JSON, tuples come back as lists and the keys of dicts as str.

    >>> with JsonStore('memory://', frozen=False) as store:
    ...     store['numbers'] = [1, 2.5, None]
    ...     store['numbers']
    [1, 2.5, None]
    """

    def _dump(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def _load(self, data: str) -> Any:
        return json.loads(data)


class MsgpackStore(Store):
    """A store that keeps values as MessagePack, smaller and faster than JSON; bytes and datetimes come through too.

    Needs msgspec: ``pip install 'rlib-store[msgpack]'``. Ints have at most 64 bits, tuples come back as lists.

    >>> with MsgpackStore('memory://', frozen=False) as store:
    ...     store['picture'] = {'width': 2, 'pixels': bytes(2)}
    ...     store['picture']
    {'width': 2, 'pixels': b'\\x00\\x00'}
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            from msgspec import msgpack
        except ImportError as exc:
            raise StoreNotAvailableError(
                "MsgpackStore needs the package msgspec: pip install 'rlib-store[msgpack]'"
            ) from exc
        self._encode, self._decode = msgpack.encode, msgpack.decode
        super().__init__(*args, **options)

    def _dump(self, value: Any) -> bytes:
        return self._encode(value)

    def _load(self, data: bytes) -> Any:
        return self._decode(data)

"""Values as MessagePack, so that each comes back equal and of its own type, or is refused by name.

This is a stored format. Values for which MessagePack has no type are kept in extension types, whose codes are in one
table. A code never gets another meaning. Codes that are not in it belong to users: they may store a
``msgspec.msgpack.Ext``.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import struct
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

_Pack: TypeAlias = Callable[[Any], bytes]
_Unpack: TypeAlias = Callable[[bytes], Any]

_COMPLEX: Final = struct.Struct(">dd")
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})
"""Types that MessagePack has: ints of 64 bits and texts without lone surrogates are tried first."""
_SURE: Final = _PLAIN - {int, str}
_INTS: Final = range(-(2**63), 2**64)


def _own(kind: type) -> type:
    """Return Python's own class for which a class of dates stands in, as those of a test that holds the clock do."""
    return next(cls for cls in kind.__mro__ if cls.__module__ == "datetime")


_OWN: Final[tuple[Any, Any]] = _own(datetime.date), _own(datetime.datetime)
"""In a tuple: a library that holds the clock replaces these classes in all modules, by name."""


class Extension(NamedTuple):
    """An extension type: its code, and the two ways between a value and its bytes.

    ``pack`` and ``unpack`` are given the functions that pack and unpack the values inside.
    """

    code: int
    pack: Callable[[Any, _Pack], bytes]
    unpack: Callable[[bytes, _Unpack], Any]


def _pack_int(value: int, _: _Pack) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _unpack_int(data: bytes, _: _Unpack) -> int:
    return int.from_bytes(data, "big", signed=True)


def _pack_dict(value: dict[Any, Any], pack: _Pack) -> bytes:
    return pack([part for pair in value.items() for part in pair])


def _unpack_dict(data: bytes, unpack: _Unpack) -> dict[Any, Any]:
    parts = iter(unpack(data))
    return dict(zip(parts, parts, strict=True))


def _pack_moment(value: datetime.datetime | datetime.time, pack: _Pack) -> bytes:
    """Pack a local time as ISO text, fold, and the name of its zone: None if it has an offset, or none of both."""
    zone = value.tzinfo
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return pack([value.replace(tzinfo=None).isoformat(), value.fold, zone.key])
    if zone is not None and value.utcoffset() is None:
        raise TypeError(f"a time of the zone {zone!r} has no offset: store it without, or with a zone of zoneinfo")
    return pack([value.isoformat(), value.fold, None])


def _moment(kind: type[datetime.datetime | datetime.time]) -> tuple[Any, Any]:
    def unpack_moment(data: bytes, unpack: _Unpack) -> Any:
        text, fold, zone = unpack(data)
        found = kind.fromisoformat(text).replace(fold=fold)
        return found if zone is None else found.replace(tzinfo=zoneinfo.ZoneInfo(zone))

    return _pack_moment, unpack_moment


def _as_text(make: Callable[[str], Any], show: Callable[[Any], str] = str, errors: str = "strict") -> tuple[Any, Any]:
    return lambda value, _: show(value).encode("utf-8", errors), lambda data, _: make(data.decode("utf-8", errors))


def _as_list(make: Callable[[list[Any]], Any], show: Callable[[Any], list[Any]] = list) -> tuple[Any, Any]:
    return lambda value, pack: pack(show(value)), lambda data, unpack: make(unpack(data))


EXTENSIONS: Final[Mapping[type, Extension]] = {
    int: Extension(33, _pack_int, _unpack_int),  # of more than 64 bits: two's complement, the highest byte first
    str: Extension(34, *_as_text(str, errors="surrogatepass")),  # with lone surrogates
    dict: Extension(35, _pack_dict, _unpack_dict),  # with keys of other types: key, value, key, value, ...
    tuple: Extension(36, *_as_list(tuple)),
    set: Extension(37, *_as_list(set)),
    frozenset: Extension(38, *_as_list(frozenset)),
    bytearray: Extension(39, lambda value, _: bytes(value), lambda data, _: bytearray(data)),
    complex: Extension(
        40, lambda value, _: _COMPLEX.pack(value.real, value.imag), lambda data, _: complex(*_COMPLEX.unpack(data))
    ),
    Decimal: Extension(41, *_as_text(Decimal)),
    Fraction: Extension(42, *_as_list(lambda parts: Fraction(*parts), lambda value: list(value.as_integer_ratio()))),
    _OWN[1]: Extension(43, *_moment(_OWN[1])),  # not in UTC
    _OWN[0]: Extension(44, *_as_text(datetime.date.fromisoformat, datetime.date.isoformat)),
    datetime.time: Extension(45, *_moment(datetime.time)),
    datetime.timedelta: Extension(
        46,
        *_as_list(
            lambda parts: datetime.timedelta(*parts), lambda value: [value.days, value.seconds, value.microseconds]
        ),
    ),
    uuid.UUID: Extension(47, lambda value, _: value.bytes, lambda data, _: uuid.UUID(bytes=data)),
}
"""The types that have an extension type. None of their subclasses is among them."""

_BY_CODE: Final = {extension.code: extension for extension in EXTENSIONS.values()}


class Packer:
    """Packs and unpacks values. Needs msgspec.

    >>> packer = Packer()
    >>> packer.unpack(packer.pack({'price': Decimal('1.10'), 'size': (1, 2)}))
    {'price': Decimal('1.10'), 'size': (1, 2)}
    """

    def __init__(self) -> None:
        from msgspec import msgpack

        self._encode = msgpack.Encoder().encode
        self._decode = msgpack.Decoder(ext_hook=self._unpacked).decode
        self._ext: Any = msgpack.Ext

    def pack(self, value: Any) -> bytes:
        """Return a value as MessagePack.

        Raises:
            TypeError: MessagePack has no type for it, or for a value in it; the message names that and says what to do.
            ValueError: it holds itself, or is nested too deeply.
        """
        try:
            try:
                return self._encode(self._plain(value, _PLAIN))
            except (OverflowError, UnicodeEncodeError):  # there are large ints, or lone surrogates: look at each value
                return self._encode(self._plain(value, _SURE))
        except RecursionError:
            raise ValueError("a value that holds itself, or is nested so deeply, can't be MessagePack") from None

    def unpack(self, data: bytes) -> Any:
        """Return the value."""
        return self._decode(data)

    def _plain(self, value: Any, sure: frozenset[type]) -> Any:
        """Return a value for msgspec: of types that come back as they are, and of extension types."""
        kind = type(value)
        if kind in sure:
            return value
        if kind is list:
            return value if sure.issuperset(map(type, value)) else [self._plain(each, sure) for each in value]
        if kind is dict and (sure.issuperset(map(type, value)) or all(_is_native(type(key), key) for key in value)):
            if sure.issuperset(map(type, value.values())):
                return value
            return {key: self._plain(each, sure) for key, each in value.items()}
        if kind is self._ext and value.code not in _BY_CODE:
            return value
        own = value if kind in EXTENSIONS else _in_own_class(value)
        return own if _is_native(type(own), own) else self._extended(own)

    def _extended(self, value: Any) -> Any:
        extension = EXTENSIONS.get(type(value))
        if extension is None:
            raise TypeError(_refusal(value))
        return self._ext(extension.code, extension.pack(value, self.pack))

    def _unpacked(self, code: int, data: memoryview) -> Any:
        extension = _BY_CODE.get(code)
        return self._ext(code, bytes(data)) if extension is None else extension.unpack(bytes(data), self._decode)


def _is_native(kind: type, value: Any) -> bool:
    """Tell whether MessagePack has a type for a value, where its type alone does not tell."""
    if kind is int:
        return value in _INTS
    if kind is str:
        return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
    return kind in _SURE or (kind is _OWN[1] and value.tzinfo is datetime.UTC and not value.fold)


def _in_own_class(value: Any) -> Any:
    """Return a date in Python's own class, if its class claims all dates of that as its instances, as freezegun's do.

    So a test that holds the clock stores the same bytes as the program.
    """
    date, moment = _OWN
    own = moment if isinstance(value, moment) else date
    if not (isinstance(value, own) and issubclass(own, type(value))):
        return value
    day = date.fromordinal(value.toordinal())
    return day if own is date else moment.combine(day, value.timetz())


def _refusal(value: Any) -> str:
    kind = type(value)
    return f"MessagePack would not give back a {kind.__module__}.{kind.__qualname__} as it is: {_advice(value)}"


_ADVICE: Final[tuple[tuple[Callable[[Any], bool], str], ...]] = (
    (lambda value: isinstance(value, enum.Enum), "store its .value"),
    (dataclasses.is_dataclass, "store dataclasses.asdict(it)"),
    (lambda value: attrs.has(type(value)), "store attrs.asdict(it)"),
    (lambda value: isinstance(value, tuple) and hasattr(value, "_asdict"), "store its ._asdict()"),
    (lambda value: getattr(value, "code", None) in _BY_CODE, "its code is one of rstore's own, choose another"),
    (lambda value: hasattr(value, "tolist"), "store its .tolist()"),  # NumPy's scalars and arrays
)
"""The value to store in place of another: the first line that fits counts."""


def _advice(value: Any) -> str:
    kinds = (*_PLAIN, list, *EXTENSIONS)
    of_subclass = (f"make it of type {kind.__name__} first" for kind in kinds if isinstance(value, kind))
    fitting = chain((advice for fits, advice in _ADVICE if fits(value)), of_subclass)
    return next(fitting, f"make it of one of the types {', '.join(sorted({kind.__name__ for kind in kinds}))} first")

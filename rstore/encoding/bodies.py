"""Bodies: what an envelope holds, and the flags that say how its bytes were made.

A body is one value as it was dumped, or columns. Columns are the times of a segment, or the items of a snapshot, and
then their values. Those are dumped, or typed: then only values are dumped for which
:mod:`rstore.encoding.columns` has no type.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from rstore.encoding.packing import pack_blobs, unpack_blobs

DUMPED, TEXT, COLUMNS, COMPRESSED, ENCRYPTED, TYPED, NOTED, SUMMED = 1, 2, 4, 8, 16, 32, 64, 128
"""The flags: values went through a store's own ``_dump``, which returned text; there are columns; zlib compressed
them; a cipher encrypted them; the columns are typed; a note stands beside the value; and a summary before the columns.
"""
KNOWN: Final = DUMPED | TEXT | COLUMNS | COMPRESSED | ENCRYPTED | TYPED | NOTED | SUMMED
OF_SEALING: Final = ENCRYPTED | NOTED  # they describe an envelope, and not the body in it

_COUNTS: Final = struct.Struct("<II")  # how many values, and how many bytes of their times or items
SIZE_OF_COUNTS: Final = _COUNTS.size
_COMPRESS_FROM: Final = 256  # bytes; below it the gain is not worth the call
_SAMPLE: Final = 1 << 16
_SAMPLE_OF_TYPED: Final = 1 << 10
_SAMPLES_OF_TYPED: Final = 4
_SHRINKS_TO: Final = 8  # prices that would shrink to a third went in five times, and came out eight times slower
_COMPRESS_LEVEL: Final = 1  # level 6 saves a few per cent more at three times the cost


class Body(NamedTuple):
    """A dumped value or columns, not yet bound to a place in the log."""

    flags: int
    data: bytes


NOTHING: Final = Body(0, b"")
"""The body of an entry that has no value, such as a ``delitem``."""


# -- compression ------------------------------------------------------------------------------------------------------


def compressed(flags: int, data: bytes) -> Body:
    """Return a body, compressed where that saves something. Large data are sampled first: photographs don't shrink."""
    if len(data) < _COMPRESS_FROM or (len(data) > _SAMPLE and len(_deflated(data[:_SAMPLE])) >= _SAMPLE):
        return Body(flags, data)
    packed = _deflated(data)
    return Body(flags | COMPRESSED, packed) if len(packed) < len(data) else Body(flags, data)


def compressed_typed(flags: int, data: bytes, start: int = 0) -> Body:
    """Return the body of typed columns, compressed from ``start`` on only where a sample shrinks to an eighth.

    Otherwise the compression takes longer than all else together.
    """
    if len(data) < _COMPRESS_FROM:
        return Body(flags, data)
    step = max(1, len(data) // _SAMPLES_OF_TYPED)
    sample = b"".join(data[low : low + _SAMPLE_OF_TYPED] for low in range(start, len(data), step))
    if _SHRINKS_TO * len(_deflated(sample)) > len(sample):
        return Body(flags, data)
    return Body(flags | COMPRESSED, data[:start] + _deflated(memoryview(data)[start:]))


def _deflated(data: Any) -> bytes:
    return zlib.compress(data, _COMPRESS_LEVEL)


# -- columns ----------------------------------------------------------------------------------------------------------


def pack_columns(count: int, index: bytes, values: bytes, before: bytes = b"") -> bytes:
    """Pack the times or items of a number of values, and the values, both as bytes, after what stands before them."""
    return b"".join((before, _COUNTS.pack(count, len(index)), index, values))


def unpack_columns(data: Any) -> tuple[int, Any, Any]:
    """Return the arguments of :func:`pack_columns`: as views, if the data are one.

    Raises:
        struct.error: the data are cut off.
    """
    count, size = _COUNTS.unpack_from(data)
    start = _COUNTS.size + size
    return count, data[_COUNTS.size : start], data[start:]


# -- what a store's own _dump returns ---------------------------------------------------------------------------------


def as_bytes(dumped: object) -> tuple[bool, bytes]:
    """Return whether a ``_dump`` returned text, and its result as bytes."""
    if isinstance(dumped, str):
        return True, dumped.encode("utf-8", "surrogatepass")
    if isinstance(dumped, bytes | bytearray | memoryview):
        return False, bytes(dumped)
    raise TypeError(f"_dump returns str or bytes, not {type(dumped).__name__}")


def pack_dumped(values: Iterable[Any]) -> bytes:
    """Pack the results of a ``_dump``; each value's last byte tells text from bytes."""
    return pack_blobs([data + (b"t" if text else b"b") for text, data in map(as_bytes, values)])


def unpack_dumped(count: int, data: bytes) -> list[str | bytes]:
    """Return the results that :func:`pack_dumped` was given."""
    return [
        blob[:-1].decode("utf-8", "surrogatepass") if blob[-1:] == b"t" else blob[:-1]
        for blob in unpack_blobs(count, data)
    ]

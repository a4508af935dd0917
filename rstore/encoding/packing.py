"""Numbers, times and texts as bytes: the parts of columns.

Integers have the narrowest width that holds all of them, little-endian. Their number is kept elsewhere.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice, pairwise
from operator import sub
from typing import Any, Final

WIDTHS: Final = b"BHIQ"
REGULAR: Final = ord("R")


def pack_ints(ints: Sequence[int]) -> bytes:
    """Pack integers from 0 up, with a first byte that tells their width. A memoryview keeps the width that it has."""
    if isinstance(ints, memoryview) and sys.byteorder == "little":
        return ints.format.encode() + ints.tobytes()
    top = max(ints, default=0)
    width = next(chr(code) for code in WIDTHS if top < 1 << 8 * array(chr(code)).itemsize)
    column = array(width, ints)
    if sys.byteorder == "big":
        column.byteswap()
    return width.encode() + column.tobytes()


def unpack_ints(count: int, data: Any) -> tuple[array[int], Any]:
    """Return the integers, and the bytes that follow them: those of a memoryview are a view too."""
    if data[0] not in WIDTHS:
        raise ValueError("a column of unknown width")
    column = array(chr(data[0]))
    size = 1 + count * column.itemsize
    column.frombytes(data[1:size])
    if len(column) != count:
        raise ValueError("a column is cut off")
    if sys.byteorder == "big":
        column.byteswap()
    return column, data[size:]


def pack_times(times: Sequence[int]) -> bytes:
    """Pack increasing times as steps from one to the next; the first is the record's start."""
    steps = list(map(sub, islice(times, 1, None), times))
    if not steps:
        return b""
    if min(steps) == max(steps):
        return struct.pack("<BQ", REGULAR, steps[0])
    return pack_ints(steps)


def unpack_times(start: int, count: int, data: bytes) -> Sequence[int]:
    """Return the times that :func:`pack_times` was given."""
    if count == 1:
        return (start,)
    if data[0] == REGULAR:
        step = struct.unpack_from("<Q", data, 1)[0]
        return range(start, start + step * count, step)
    steps, _ = unpack_ints(count - 1, data)
    return list(accumulate(steps, initial=start))


def pack_texts(texts: Iterable[str]) -> bytes:
    """Pack texts as their lengths in UTF-8 and then all of them. Lone surrogates come through."""
    return pack_blobs([text.encode("utf-8", "surrogatepass") for text in texts])


def unpack_texts(count: int, data: bytes) -> list[str]:
    """Return the texts that :func:`pack_texts` was given."""
    return [blob.decode("utf-8", "surrogatepass") for blob in unpack_blobs(count, data)]


def pack_blobs(blobs: Sequence[bytes]) -> bytes:
    """Pack bytes as their lengths and then all of them."""
    return pack_ints([len(blob) for blob in blobs]) + b"".join(blobs)


def unpack_blobs(count: int, data: bytes) -> list[bytes]:
    """Return the blobs that :func:`pack_blobs` was given.

    Raises:
        ValueError: the data are cut off.
    """
    lengths, rest = unpack_ints(count, data)
    if sum(lengths) != len(rest):
        raise ValueError("a column is cut off")
    return [rest[i:j] for i, j in pairwise(accumulate(lengths, initial=0))]

"""Checksums of a long body that has a summary: one of the summary, and one of each chunk of the rest.

So a reader of the summary, or of a few rows, need not verify half a megabyte. In clear such a body is
``number of chunks | their checksums | size | summary | rest``, and the checksum of the envelope is of all before
``rest``. An encrypted body is only ``size | summary | rest``, since the cipher opens all of it or nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

CHUNK: Final = 1 << 14  # bytes: it is verified in 5 us, and its checksum is a 4,000th of it
_INT: Final = struct.Struct("<I")


class DamageError(ValueError):
    """Bytes are others than those that were written."""


class CutError(ValueError):
    """A summary is not all there."""


class Opened(NamedTuple):
    """A body that is opened: its summary, which is verified, and the rest, of which ``sums`` are the checksums.

    Without ``sums`` the rest is verified too.
    """

    summary: Any
    rest: Any
    sums: Sequence[int] | None = None

    def check(self, start: int, stop: int) -> None:
        """Verify the chunks that hold these bytes of the rest.

        Raises:
            DamageError: they are others than those that were written.
        """
        if self.sums is None:
            return
        for at in range(start // CHUNK, -(-stop // CHUNK)):
            if zlib.crc32(self.rest[at * CHUNK : (at + 1) * CHUNK]) != self.sums[at]:
                raise DamageError("a checksum does not match")


def guarded(data: Any) -> tuple[bytes, memoryview]:
    """Return what stands before the rest of a body, which is ``size | summary | rest``, and that rest."""
    view = memoryview(data)
    start = _INT.size + _INT.unpack_from(view)[0]
    rest = view[start:]
    sums = [zlib.crc32(rest[low : low + CHUNK]) for low in range(0, len(rest), CHUNK)]
    return struct.pack(f"<I{len(sums)}I", len(sums), *sums) + view[:start], rest


def unguarded(data: memoryview, flags: int, checksum: int, *, is_cut: bool = False) -> tuple[Opened, memoryview]:
    """Return a body that :func:`guarded` made, and the same as one view. The envelope has the checksum.

    ``is_cut`` says that the end of the rest may not be there.

    Raises:
        CutError: even the summary is not all there.
        ValueError, struct.error: it is damaged.
    """
    (number,) = _INT.unpack_from(data)
    start = _INT.size * (1 + number)
    body = data[start:]
    summary, rest = split(body)
    is_whole = is_cut or number == -(-len(rest) // CHUNK)
    if zlib.crc32(data[: len(data) - len(rest)], flags) != checksum or not is_whole:
        raise ValueError("the checksum does not match")
    return Opened(summary, rest, struct.unpack_from(f"<{number}I", data, _INT.size)), body


def before(summary: bytes) -> bytes:
    """Return what stands before the rest of a body with a summary."""
    return _INT.pack(len(summary)) + summary


def split(body: memoryview) -> tuple[memoryview, memoryview]:
    """Return the summary and the rest of a body.

    Raises:
        ValueError, struct.error: it is cut off.
    """
    start = _INT.size + _INT.unpack_from(body)[0]
    if start > len(body):
        raise CutError("the summary is cut off")
    return body[_INT.size : start], body[start:]

"""Columns of texts: how many bytes of UTF-8 each text has, and then all of these bytes.

Where few texts come often, the column is *coded*: it has each of them once, and for each row the number of its text.
Lone surrogates come through. A library that keeps texts as UTF-8 takes the bytes as they are; a Python object for each
text is made only for a caller that asks for one.

- Rejected: Arrow's offsets in place of lengths. An offset takes 4 bytes, and nearly every length 1. A reader would also
  have to see that offsets increase before it lets Arrow follow them: 30 ns for each, where a sum of lengths takes 10.
- Rejected: Arrow's bitmap of validity in place of a byte for each row. It would be a second form of missing values,
  for 1 byte beside the 10 to 30 of a row, and none where no text is missing.
- Rejected: compression that pays less than that of other columns does. zlib makes a third of log messages in 6 ns a
  byte. SQLite writes them in 5, as they are.
- Rejected: columns for texts that come as points. pickle reads as fast, and a layout would settle what there is.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from io import BytesIO, StringIO
from itertools import accumulate, count
from operator import itemgetter
from typing import Any, Final, overload

from rstore.encoding.packing import pack_ints, unpack_ints

PAYS_FROM: Final = 8
"""A column is coded where each text comes so many times on average."""

_CHUNK: Final = 1 << 12  # texts that are decoded at once: Python takes 4 bytes for a character that it reads
_COUNT: Final = struct.Struct("<I")
_INSIDE: Final = bytes(range(0x80, 0xC0))  # no character in UTF-8 begins with one of these


class Texts(Sequence[str]):
    """Texts as bytes. ``lengths`` and ``codes`` are buffers of unsigned ints, or lists of them.

    With ``codes``, ``lengths`` and ``data`` are those of the texts that the codes count, from 0.

    >>> texts = Texts([1, 2, 0], 'aé'.encode())
    >>> list(texts), texts[1:].tolist(), Texts([1, 1], b'ab', [1, 0, 1]).tolist()
    (['a', 'é', ''], ['é', ''], ['b', 'a', 'b'])
    """

    __slots__ = ("_offsets", "codes", "data", "lengths")

    def __init__(self, lengths: Any, data: Any, codes: Any = None, offsets: Any = None) -> None:
        self.lengths, self.data, self.codes = lengths, memoryview(data), codes
        self._offsets = offsets

    @property
    def offsets(self) -> Any:
        """Where each text begins in the bytes, and where the last one ends."""
        if self._offsets is None:
            self._offsets = list(accumulate(self.lengths, initial=0))
        return self._offsets

    def __len__(self) -> int:
        return len(self.lengths if self.codes is None else self.codes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Texts: ...
    def __getitem__(self, at: int | slice) -> Any:
        if not isinstance(at, slice):
            place = range(len(self))[at]
            return self[place : place + 1].tolist()[0]
        low, high, step = at.indices(len(self))
        if step != 1:
            return coded_if_it_pays(self.tolist()[at])
        if high - low == len(self):
            return self
        if self.codes is not None:
            return Texts(self.lengths, self.data, self.codes[at], self._offsets)
        offsets = self.offsets
        return Texts(self.lengths[at], self.data[offsets[low] : offsets[max(low, high)]])

    def tolist(self) -> list[str]:
        """Return the texts as a list."""
        if self.codes is not None:
            return list(map(Texts(self.lengths, self.data).tolist().__getitem__, self.codes))
        listed: list[str] = []
        read = BytesIO(self.data).read
        for low in range(0, len(self), _CHUNK):
            lengths = self.lengths[low : low + _CHUNK]
            data = read(sum(lengths))
            joint = _decoded(data)
            if joint.isascii():  # then a character is a byte; and to read takes a third of the time to slice
                listed += map(StringIO(joint, newline="").read, lengths)
            else:
                listed += map(_decoded, map(BytesIO(data).read, lengths))
        return listed

    def blobs(self) -> Iterator[bytes]:
        """Return the bytes of each text, or if they are coded of each that the codes count."""
        return map(BytesIO(self.data).read, self.lengths)


def _decoded(data: Any) -> str:
    return str(data, "utf-8", "surrogatepass")


def coded_if_it_pays(texts: Sequence[str]) -> Texts:
    """Return texts as bytes.

    >>> coded_if_it_pays(['on', 'off'] * 8).codes.tolist()[:3], coded_if_it_pays(['on', 'off']).codes
    ([0, 1, 0], None)
    """
    numbers: dict[str, int] = {}
    if pays(len(set(texts[: len(texts) // 4])), len(texts)):  # others are not all looked at
        numbers = dict(zip(dict.fromkeys(texts), count(), strict=False))
    if numbers and pays(len(numbers), len(texts)):
        codes = array("B" if len(numbers) <= 1 << 8 else "H" if len(numbers) <= 1 << 16 else "I")
        codes.extend(map(numbers.__getitem__, texts))
        return _of(list(numbers), codes)
    return _of(texts)


def pays(different: int, rows: int) -> bool:
    """Tell whether rows with so many different texts are coded."""
    return PAYS_FROM * different <= rows


def _of(texts: Sequence[str], codes: Any = None) -> Texts:
    joint = "".join(texts)
    data = joint.encode("utf-8", "surrogatepass")
    if joint.isascii():
        return Texts(list(map(len, texts)), data, codes)
    return Texts([len(text.encode("utf-8", "surrogatepass")) for text in texts], data, codes)


def pack(texts: Texts) -> bytes:
    """Return texts as the block of a column."""
    plain = (pack_ints(texts.lengths), texts.data)
    if texts.codes is None:
        return b"".join(plain)
    return b"".join((_COUNT.pack(len(texts.lengths)), pack_ints(texts.codes), *plain))


def unpack(rows: int, block: memoryview, *, is_coded: bool) -> Texts:
    """Return the texts of a block, which are not decoded yet.

    Raises:
        ValueError, struct.error, IndexError: the block is damaged.
    """
    if not is_coded:
        return _checked(*unpack_ints(rows, block))
    (different,) = _COUNT.unpack_from(block)
    codes, rest = unpack_ints(rows, block[_COUNT.size :])
    if not _are_below(different, codes):
        raise ValueError("a row has the number of no text")
    found = _checked(*unpack_ints(different, rest))
    return Texts(found.lengths, found.data, codes)


def _are_below(top: int, codes: array[int]) -> bool:
    if codes.typecode == "B":  # ten times as fast as max
        return not codes.tobytes().translate(None, bytes(range(min(top, 1 << 8))))
    return max(codes, default=-1) < top


def _checked(lengths: array[int], data: Any) -> Texts:
    """Return texts of which each is UTF-8: then nothing can fail that reads them later."""
    if sum(lengths) != len(data):
        raise ValueError("a column is cut off")
    texts = Texts(lengths, data)
    if not _decoded(data).isascii():
        firsts = bytes(itemgetter(*texts.offsets[:-1], 0)(bytes(data) + b"\0"))
        if len(firsts.translate(None, _INSIDE)) < len(firsts):
            raise ValueError("a text begins within a character")
    return texts

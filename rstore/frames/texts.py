"""Columns of texts by NumPy: cut into segments, and put together, without a look at the texts."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from rstore.encoding.texts import Texts, pays
from rstore.frames.times import Ints

_CHUNK: Final = 1 << 18  # bytes


def ints(buffer: Any) -> Any:
    """Return unsigned ints, in a list or a buffer, as an array."""
    return np.fromiter(buffer, np.uint64, len(buffer)) if isinstance(buffer, list) else np.asarray(buffer)


def ends(lengths: Any) -> Ints:
    """Return the offsets of texts with these lengths.

    >>> ends([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(ints(lengths), out=offsets[1:])
    return offsets


def of_offsets(offsets: Ints, data: Any) -> Texts:
    """Return texts that lie between offsets into bytes, which begin at any number."""
    data = memoryview(data)[int(offsets[0]) : int(offsets[-1])]
    return Texts(narrow(np.diff(offsets)), data, None, memoryview(offsets - offsets[0]))


def narrow(array: Any) -> memoryview:
    """Return ints from 0 up as a buffer of the narrowest type that holds them."""
    top = int(array.max()) if len(array) else 0
    width = 1 if top < 1 << 8 else 2 if top < 1 << 16 else 4
    narrowest: Any = np.ascontiguousarray(array, f"u{width}")
    return memoryview(narrowest)


def cut(texts: Texts) -> Texts:
    """Return texts of a segment as they are best stored: ints in their narrowest type, and no text that no row has."""
    if texts.codes is None:
        return Texts(narrow(ints(texts.lengths)), texts.data)
    codes, lengths = ints(texts.codes), ints(texts.lengths)
    used = np.flatnonzero(np.bincount(codes))  # of a hundred thousand texts nothing else is looked at
    if len(used) < len(lengths):
        offsets = texts.offsets
        data = b"".join(texts.data[offsets[at] : offsets[at + 1]] for at in used.tolist())
        texts = Texts(narrow(lengths[used]), data, narrow(np.searchsorted(used, codes)))
    return texts if pays(len(used), len(codes)) else _plain(texts)


def check_unicode(texts: Texts) -> None:
    """Raise UnicodeError if a text has lone surrogates. The bytes are looked at in parts, which need little memory."""
    decoder = getincrementaldecoder("utf-8")()
    for low in range(0, len(texts.data), _CHUNK):
        decoder.decode(texts.data[low : low + _CHUNK])


def _plain(texts: Texts) -> Texts:
    if texts.codes is None:
        return texts
    different, codes = list(texts.blobs()), ints(texts.codes)
    return Texts(narrow(ints(texts.lengths)[codes]), b"".join(map(different.__getitem__, codes.tolist())))


def joined(parts: Sequence[Texts]) -> Texts:
    """Return texts one after the other: coded, if nearly all of them are."""
    if len(parts) == 1:
        return parts[0]
    if not pays(sum(len(part) for part in parts if part.codes is None), sum(map(len, parts))):
        parts = list(map(_plain, parts))
        data: Any = np.concatenate([np.asarray(part.data) for part in parts])  # in memory that is cleared faster
        return Texts(narrow(np.concatenate([ints(part.lengths) for part in parts])), data)
    numbers: dict[bytes, int] = {}
    codes = []
    for part in parts:
        places = np.array([numbers.setdefault(text, len(numbers)) for text in part.blobs()], np.uint32)
        codes.append(places if part.codes is None else places[ints(part.codes)])
    lengths = np.fromiter(map(len, numbers), np.uint64, len(numbers))
    return Texts(narrow(lengths), b"".join(numbers), narrow(np.concatenate(codes)))

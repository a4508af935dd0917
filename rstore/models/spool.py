"""Sealed entries set aside until all of them are known to be good, in constant memory.

The write lock of a backend is then held while the entries are stored, and not while the user's iterable makes them.
Entries on disk are sealed: encrypted, if the store is.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from heapq import merge
from itertools import chain
from os import SEEK_END
from types import TracebackType
from typing import IO, Any, Final, Generic, Self, TypeVar

from attrs import frozen

from rstore.domain.log import Entry
from rstore.domain.paging import pages

_MEMORY_BYTES: Final = 8 << 20
_OVERHEAD_BYTES: Final = 400  # of the objects that an item is made of, beside its data
_BLOCK: Final = 256  # items that are read at once, of each run
_MARSHAL_VERSION: Final = 2  # the newer ones look for objects that come up twice, which takes longer

T = TypeVar("T")


@frozen
class Packing(Generic[T]):
    """How items go to a file: as tuples of plain values.

    ``size`` tells the bytes of an item's data. Where there is an ``order``, items come back in it; of those that are
    equal in it, the first ones come first.
    """

    pack: Callable[[T], tuple[Any, ...]]
    unpack: Callable[[Sequence[Any]], T]
    size: Callable[[T], int]
    order: Callable[[T], Any] | None = None


ENTRIES: Final = Packing[Entry](tuple, Entry._make, lambda entry: len(entry.data))


class Spool(Generic[T]):
    """A list of items that goes on in an unnamed temporary file when it becomes long: in runs, which are merged."""

    def __init__(self, packing: Packing[T], room: int | None = None) -> None:
        """Take how its items go to the file, and how many bytes they may take in memory before they do."""
        self._packing, self._room = packing, _MEMORY_BYTES if room is None else room
        self._recent: list[T] = []
        self._bytes = self._spilled = 0
        self._file: IO[bytes] | None = None
        self._runs: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return self._spilled + len(self._recent)

    def add(self, item: T) -> None:
        """Set an item aside."""
        self._recent.append(item)
        self._bytes += self._packing.size(item) + _OVERHEAD_BYTES
        if self._bytes > self._room:
            self._spill()

    def extend(self, items: Iterable[T]) -> None:
        """Set items aside."""
        for item in items:
            self.add(item)

    def items(self) -> Iterable[T]:
        """Return the items, a list if they are in memory."""
        return self if self._file else self._recent

    def __iter__(self) -> Iterator[T]:
        order = self._packing.order
        runs = [*map(self._run, self._runs), self._recent if order is None else sorted(self._recent, key=order)]
        return chain.from_iterable(runs) if order is None else merge(*runs, key=order)

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="rstore-")  # noqa: SIM115  # closed in __exit__
        self._runs.append(self._file.seek(0, SEEK_END))
        order = self._packing.order
        for block in pages(self._recent if order is None else sorted(self._recent, key=order), _BLOCK):
            marshal.dump([self._packing.pack(item) for item in block], self._file, _MARSHAL_VERSION)
        marshal.dump([], self._file, _MARSHAL_VERSION)
        self._spilled += len(self._recent)
        self._recent, self._bytes = [], 0

    def _run(self, place: int) -> Iterator[T]:
        """Yield the items of a run that begins at a place in the file. Other runs are read in between."""
        file = self._file
        while file is not None:
            file.seek(place)
            block = marshal.load(file)  # noqa: S302  # written above, to a file without a name
            if not block:
                return
            place = file.tell()
            yield from map(self._packing.unpack, block)


class Spools:
    """Spools that are in use at one time, and are closed together."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def new(self) -> Spool[Entry]:
        """Return one more."""
        return self._open.enter_context(Spool(ENTRIES))

    def clear(self) -> None:
        """Close all that there are."""
        self._open.close()


@frozen
class Reiterable(Iterable[T]):
    """Items that are made each time they are iterated over, of data that is known to be good.

    Entries are sealed that way while the log is locked. A spool was rejected for them: its file takes longer to write
    and read.
    """

    make: Callable[[], Iterator[T]]

    def __iter__(self) -> Iterator[T]:
        return self.make()

"""Sealed entries set aside until all of them are known to be good, in constant memory.

The write lock of a backend is then held while the entries are stored, and not while the user's iterable makes them.
Entries on disk are sealed: encrypted, if the store is.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Final, Self

from attrs import frozen

from rstore.domain.log import Entry

_MEMORY_BYTES: Final = 8 << 20


class Spool:
    """A list of entries that goes on in an unnamed temporary file when it becomes long."""

    def __init__(self) -> None:
        self._recent: list[Entry] = []
        self._bytes = 0
        self._spilled = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return self._spilled + len(self._recent)

    def add(self, entry: Entry) -> None:
        """Set an entry aside."""
        self._recent.append(entry)
        self._bytes += len(entry.data)
        if self._bytes > _MEMORY_BYTES:
            self._spill()

    def extend(self, entries: Iterable[Entry]) -> None:
        """Set entries aside."""
        for entry in entries:
            self.add(entry)

    def entries(self) -> Iterable[Entry]:
        """Return the entries in the order in which they were added, a list if they are in memory."""
        return self if self._file else self._recent

    def __iter__(self) -> Iterator[Entry]:
        if self._file is not None:
            yield from self._replay(self._file)
        yield from self._recent

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="rstore-")  # noqa: SIM115  # closed in __exit__
        for entry in self._recent:
            marshal.dump(tuple(entry), self._file)
        self._spilled += len(self._recent)
        self._recent, self._bytes = [], 0

    def _replay(self, file: IO[bytes]) -> Iterator[Entry]:
        file.seek(0)
        for _ in range(self._spilled):
            yield Entry._make(marshal.load(file))  # noqa: S302  # written above, to a file without a name


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

    def new(self) -> Spool:
        """Return one more."""
        return self._open.enter_context(Spool())

    def clear(self) -> None:
        """Close all that there are."""
        self._open.close()


@frozen
class Reiterable(Iterable[Entry]):
    """Entries that are made each time they are iterated over, of data that is known to be good.

    They are sealed while the log is locked. A spool was rejected for them: its file takes longer to write and read.
    """

    make: Callable[[], Iterator[Entry]]

    def __iter__(self) -> Iterator[Entry]:
        return self.make()

"""What only some backends can do. A caller looks whether a log is one of these before it asks.

The look is ``isinstance``: so an adapter has such a method itself, and not by ``__getattr__``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from rstore.domain.log import Batch, Copy


@runtime_checkable
class PagedAppendable(Protocol):
    """A backend whose transaction takes more than memory holds."""

    def append_pages(self, pages: Iterable[Sequence[Batch]]) -> None:
        """Append the batches of all pages or nothing, as an append of them all does.

        Args:
            pages: the batches are in the order of their streams, so that no two writers wait for each other, and all
                have one time. The pages are iterated over inside the transaction, more than once if need be, and must
                not call user code. An exception from them ends the transaction, and nothing is stored.
        """


@runtime_checkable
class Restorable(Protocol):
    """A backend that can be the target of a copy."""

    def restore(self, copies: Sequence[Copy]) -> None:
        """Keep records as another log has them, durably: all or nothing, where one append is.

        Positions are new, and increase in the order in which the records are given. A stream may come up in several
        copies, each of which goes on where the one before it ended.

        Records whose version the stream has reached are passed over. So is the head of a copy whose version the stream
        has passed. So a caller may repeat a copy that was interrupted, and each partition of a cluster may be written
        by itself.

        What is restored counts as rewritten, and versions go on above it. They may be ones that were given out here
        before, to streams that were forgotten since: no caller may go on from a fold of those.

        Raises:
            ValueError: the records of a stream are not in order, or its head is not at or after the last one.
            StoreError: a version is greater than any that the backend can keep.
        """


@runtime_checkable
class Backupable(Protocol):
    """A backend that is a file, and can copy it.

    Any other may have an attribute ``instead_of_backup``, which is said after its name: what to use instead.
    """

    def backup(self, path: str, progress: Callable[[int, int], None]) -> None:
        """Copy the whole backend into a new file, as it is at this moment.

        Args:
            progress: is called now and then with the done and the total work; an exception from it ends the backup.

        Raises:
            StoreError: there is such a file, or it can't be written. Nothing of it is left behind.
        """

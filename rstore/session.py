"""Opening and closing a store, by hand or by ``with``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from attrs import Factory, define

from rstore.domain.errors import StoreNotAvailableError
from rstore.domain.log import Backend


@define(eq=False)
class Session:
    """The connection of a store to its log.

    Attributes:
        log: is opened and closed.
        connect: returns another log of the same namespace, frozen or not.
        forget: is called before it is opened and after it is closed: cached states may be out of date.
    """

    log: Backend
    connect: Callable[[bool], Backend]
    forget: Callable[[], None]
    is_open: bool = False
    _entered: int = 0
    _entering: threading.Lock = Factory(threading.Lock)

    def open(self) -> None:
        """Connect."""
        self.forget()
        self.log.open()
        self.is_open = True

    def close(self) -> None:
        """Let go of all connections."""
        self.is_open = False
        self.log.close()
        self.forget()

    def enter(self) -> None:
        """Open it, unless another block has."""
        with self._entering:
            if not self._entered:
                self.open()
            self._entered += 1

    def leave(self) -> None:
        """Close it, if no other block needs it any more."""
        with self._entering:
            self._entered = max(0, self._entered - 1)
            if not self._entered:
                self.close()

    def is_there(self) -> bool:
        """Tell whether it is open, or can be opened without being created."""
        if self.is_open:
            return True
        log = self.connect(True)
        try:
            log.open()
        except StoreNotAvailableError:
            return False
        log.close()
        return True

    @contextmanager
    def while_open(self) -> Iterator[None]:
        """Open it for the length of a block, unless it is open already."""
        with nullcontext() if self.is_open else self._block():
            yield

    @contextmanager
    def _block(self) -> Iterator[None]:
        self.enter()
        try:
            yield
        finally:
            self.leave()

"""A pool of connections, for a driver whose connections threads may not share.

A call takes a connection for as long as it reads or writes. Rejected: a connection for each thread. Those of dead
threads stay open, and a suspended iterator would block its thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rstore.domain.errors import StoreClosedError, StoreError


class Pooled(Protocol):
    """A connection that remembers the session in which it was opened."""

    session: Session[Any]

    def close(self) -> None: ...


C = TypeVar("C", bound=Pooled)


class Session(Generic[C]):
    """The idle connections of one process. A forked child never touches them again; nor are they used after a close.

    ``here`` stands for this process, and each session knows the process that it began in. Rejected: comparing process
    ids, since to ask for its own costs a system call, a twentieth of the time of reading a value from SQLite.
    """

    here: ClassVar[object] = object()

    def __init__(self) -> None:
        self.process = Session.here
        self.idle: deque[C] = deque()

    def close_idle(self) -> None:
        with suppress(IndexError):  # another thread has taken the last one
            while self.idle and self.process is Session.here:
                self.idle.pop().close()

    @classmethod
    def begin_process(cls) -> None:
        """Let all sessions be those of another process: this one was just forked."""
        cls.here = object()


os.register_at_fork(after_in_child=Session.begin_process)


class Pool(Generic[C]):
    """The connections of one log."""

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], C],
        is_alive: Callable[[C], bool] | None = None,
        reset: Callable[[C], bool],
        errors: tuple[type[Exception], ...],
        translated: Callable[[Any, bool], StoreError],
    ) -> None:
        """Describe the pool.

        Args:
            name: the backend's address as it may be shown.
            connect: opens a connection.
            is_alive: tells whether a connection that was idle may still be used; None if all may.
            reset: ends the transaction of a connection, and tells whether it may be used again.
            errors: the errors of the driver.
            translated: returns what such an error means, during a write or not.
        """
        self.name, self.errors = name, errors
        self._connect, self._is_alive, self._reset, self._translated = connect, is_alive, reset, translated
        self._opened = False
        self._session: Session[C] = Session()
        self._inherited: list[C] = []

    @contextmanager
    def opening(self, *, wrote: bool = False) -> Iterator[C]:
        """Open the pool and lend its first connection. The pool is closed again if the block fails."""
        self._opened = True
        try:
            with self.lease(wrote=wrote) as db:
                yield db
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the idle connections. Those in use are closed when they are given back."""
        self._opened = False
        self.end_session()

    def end_session(self) -> None:
        """Close the idle connections, and those in use when they are given back."""
        ended, self._session = self._session, Session()
        ended.close_idle()

    def close_idle(self) -> None:
        """Close the idle connections. Those in use are idle again when they are given back."""
        self._session.close_idle()

    def check_open(self) -> None:
        """Raise if the pool is not open."""
        if not self._opened:
            raise StoreClosedError(self.name)

    def lease(self, *, wrote: bool = False) -> Lease[C]:
        """Take a connection for the length of a ``with`` block, which also translates the driver's errors."""
        return Lease(self, wrote)

    def take(self) -> C:
        """Take an idle connection, or open one."""
        session = self._session  # before the check: a connection that is opened during a close() belongs to this one
        if not self._opened:
            raise StoreClosedError(self.name)
        if session.process is not Session.here:
            self._inherited.extend(session.idle)
            session = self._session = Session()
        while session.idle:
            try:
                db = session.idle.pop()
            except IndexError:  # another thread was faster
                break
            if self._is_alive is None or self._is_alive(db):
                return db
            db.close()
        try:
            db = self._connect()
        except self.errors as exc:
            raise self.translated(exc) from exc
        db.session = session
        return db

    def give(self, db: C) -> None:
        """Give a connection back. It is closed if its session has ended, and only kept if it is of another process."""
        session = db.session
        if session.process is not Session.here:
            self._inherited.append(db)
        elif session is self._session and self._reset(db):
            session.idle.append(db)
        else:
            db.close()

    def translated(self, error: Exception, *, wrote: bool = False) -> StoreError:
        """Return what a driver's error means. After a close, it means that the store was closed."""
        return self._translated(error, wrote) if self._opened else StoreClosedError(self.name)


class Lease(Generic[C]):
    """A connection for the length of a ``with`` block."""

    __slots__ = ("_db", "_pool", "_wrote")

    def __init__(self, pool: Pool[C], wrote: bool) -> None:
        self._pool, self._wrote = pool, wrote

    def __enter__(self) -> C:
        db = self._db = self._pool.take()
        return db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.give(self._db)
        if isinstance(error, self._pool.errors):
            raise self._pool.translated(error, wrote=self._wrote) from error

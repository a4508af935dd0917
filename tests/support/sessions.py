"""Sessions of PostgreSQL that stay open when a test closes them, for the next one that connects to the same server."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from psycopg.pq import TransactionStatus

from rstore.adapters.postgresql import server
from rstore.adapters.postgresql.pool import is_alive


class Kept(server.Connection):
    """A connection that is kept when it is closed outside of any transaction."""

    place: object = None

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Any:
        place = (os.getpid(), args, tuple(options.items()))
        while idle := IDLE[place]:
            try:
                db = idle.pop()
            except IndexError:  # another thread was faster
                break
            if is_alive(db):
                return db
            db.end()
        db = super().connect(*args, **options)
        db.place = place
        return db

    def close(self) -> None:
        if self.place is None or self.closed or self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.end()
        elif self not in IDLE[self.place]:
            IDLE[self.place].append(self)

    def end(self) -> None:
        super().close()


IDLE: defaultdict[object, list[Kept]] = defaultdict(list)


@contextmanager
def keeping_sessions() -> Iterator[None]:
    """Keep sessions for the next test, as a pooler would: each has planned its statements already.

    A new one plans each statement anew, which was half of the server's work for most tests.
    """
    with patch.object(server, "Connection", Kept):
        yield


def end_sessions() -> None:
    """Close the sessions that were kept."""
    for idle in IDLE.values():
        while idle:
            idle.pop().end()

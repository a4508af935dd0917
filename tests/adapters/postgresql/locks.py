"""Counts the sessions that wait for locks on a PostgreSQL server, so that a test need not sleep until they do."""

from __future__ import annotations

import time

import psycopg

_PATIENCE = 30.0


def sessions_waiting(dsn: str) -> int:
    """Return how many sessions of a database wait for a lock."""
    with psycopg.connect(dsn, autocommit=True) as db:
        (found,) = db.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone() or (0,)
    return int(found)


def until_waiting(dsn: str, number: int = 1) -> None:
    """Return once so many sessions of a database wait for a lock."""
    end = time.monotonic() + _PATIENCE
    while (found := sessions_waiting(dsn)) != number:
        assert time.monotonic() < end, f"{found} sessions wait for a lock, and not {number}"
        time.sleep(0.02)

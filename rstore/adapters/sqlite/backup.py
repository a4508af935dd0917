"""A copy of a SQLite file that is in use, made by SQLite's online backup."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final

from rstore.adapters.sqlite import statements as sql
from rstore.adapters.sqlite.file import Connection, identify
from rstore.domain.errors import StoreError

_STEP_PAGES: Final = 1024
_BESIDE: Final = ("", "-wal", "-shm", "-journal")


def back_up(db: Connection, path: str, progress: Callable[[int, int], None]) -> None:
    """Copy the file that a connection is to into a new one.

    The copy has another name until it is complete, so that nobody takes a part of it for the whole.
    """
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError(f"a file name can't have lone surrogates: {path[-60:]!r}") from None
    target = os.path.abspath(path)
    _check_is_new(target, path)
    unfinished = f"{target}.{secrets.token_hex(4)}.unfinished"
    try:
        try:
            (source,) = [file for _, name, file in db.execute("PRAGMA database_list") if name == "main"]
            mode = os.stat(source).st_mode & 0o777  # a user who may not read the store may not read its backup either
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            _copy(db, unfinished, progress)
        except sqlite3.Error as exc:
            raise StoreError(f"the backup {path} can't be made: {exc}; nothing of it was left behind") from exc
        _sync(unfinished)
        _check_is_new(target, path)
        os.rename(unfinished, target)
        _sync(os.path.dirname(target))
    except OSError as exc:
        raise StoreError(f"the backup {path} can't be made: {exc.strerror}; nothing of it was left behind") from exc
    finally:
        for ending in _BESIDE:
            with suppress(OSError):
                os.unlink(unfinished + ending)


def _check_is_new(target: str, path: str) -> None:
    if os.path.lexists(target):
        raise StoreError(f"{path} is there already: a backup is a new file, give it another name")


def _copy(db: Connection, path: str, progress: Callable[[int, int], None]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # an unfinished copy need not be safe on the disk
        # one transaction, which sees the file as it is now: without it, each write of others would restart the backup
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        db.backup(copy, pages=_STEP_PAGES, progress=lambda _, left, total: progress(total - left, total))
        identify(copy)
        copy.execute(sql.ADVANCE_POSITIONS)


def _sync(path: str) -> None:
    """Wait until a file, or the names in a directory, are safe on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

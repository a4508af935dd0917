"""The SQL for a SQLite file: whether it is still what other versions of rstore have stored and send."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

from rstore import Store

SCHEMA = "d97534f6d90014a04d594a5f0a857e056b8cf5547ba43119cbfaba3ef73bdfaf"


def test_a_file_holds_the_same_text_of_the_schema_as_ever(tmp_path: Path) -> None:
    """SQLite keeps the text of each CREATE statement, and other versions of rstore open the same file."""
    path = tmp_path / "a.db"
    with Store(path, frozen=False):
        db = sqlite3.connect(path)
        rows = db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
        db.close()
    assert sha256(repr(rows).encode()).hexdigest() == SCHEMA

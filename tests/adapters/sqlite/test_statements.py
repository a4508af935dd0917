"""The SQL for a SQLite file: whether it is still what other versions of rstore have stored and send."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from rstore import Store
from rstore.adapters.sqlite import statements as sql
from tests.support.digests import digests_of

DIGESTS = {
    "ADD_TO_COUNT": "049e2348aa94dd95",
    "ADVANCE_POSITIONS": "f57a74de73c98dd4",
    "APPEND_ONE": "5fea7c1107f35aa1",
    "APPEND_ONE_NAMES": "4d8bfb77a896885f",
    "CHANGE_STREAM": "f6863c0499525989",
    "COUNT": "df33f0b28717c8dc",
    "CREATE_STREAM": "caedf96fa5d171f7",
    "DELETE": "9cd69bc2bd52b8ed",
    "DELETE_ALL": "610903c543257152",
    "DISCARD": "48548ded627df1c9",
    "END": "320818650c1a9175",
    "FOLLOW": "ec53e89ce77d7657",
    "FORGET_STREAM": "0e1076b7db0a8f47",
    "HAS_RECORDS": "68de99f05ee3cfd4",
    "HEAD_BY_TIME": "f3d41efaea1971e6",
    "IDENTITY": "f67e527693a27607",
    "INSERT": "59002f21a570deb4",
    "IN_RANGE": "f1919ce488416645",
    "IS_FOREIGN": "8a1dc2287f480605",
    "IS_USED": "cf6e21730911481e",
    "LAST": "82eca7bb3caf17c1",
    "LAST_OF_ID": "c19e572a30d02926",
    "LAST_OF_MANY": "a23a342ef19382a5",
    "LIST": "947f48c7bda61230",
    "LISTED": "5e75d6d812aed527",
    "LIST_BY_TIME": "35350791a31ef04e",
    "LIST_LIVE": "b7498e3b3d348e11",
    "NAMESPACE": "888867067eedd53a",
    "NAMESPACES": "46c2a8d19fe5b4b6",
    "RAISE_FLOOR": "6a3c0f4aeb030cef",
    "REPLACE": "0152edbfc336f2dd",
    "REVIVE": "e02051fa4aa23c07",
    "SIZE": "b253d981b9bcad28",
    "SIZES": "67887fa0504ff9a6",
    "SNAPSHOT": "f6a49c93c94a89fe",
    "STREAM": "46b563abde7ee88a",
    "VERSION": "7832b492fe2d6626",
    "records": "1cf6a8cfd434c25a",
}

SCHEMA = "d97534f6d90014a04d594a5f0a857e056b8cf5547ba43119cbfaba3ef73bdfaf"


def test_a_file_holds_the_same_text_of_the_schema_as_ever(tmp_path: Path) -> None:
    """SQLite keeps the text of each CREATE statement, and other versions of rstore open the same file."""
    with Store(tmp_path / "a.db", frozen=False), closing(sqlite3.connect(tmp_path / "a.db")) as db:
        rows = db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    assert sha256(repr(rows).encode()).hexdigest() == SCHEMA


def test_each_statement_is_what_it_was() -> None:
    """A change is a decision: whether its plan is as good, and whether files of other versions take it."""
    assert digests_of(sql) == DIGESTS


FRAGMENTS = {"APPEND_ONE_NAMES", "IN_RANGE", "LISTED", "SIZE", "DELETE"}
COMPOSED = [start + condition for start in (sql.SIZE, sql.DELETE) for condition in (sql.IN_RANGE, sql.LISTED)]


def named() -> Iterator[str]:
    for name in DIGESTS.keys() - FRAGMENTS - {"records"}:
        value = getattr(sql, name)
        yield from [value] if isinstance(value, str) else value


def test_sqlite_prepares_each_statement(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False), closing(sqlite3.connect(tmp_path / "a.db")) as db:
        for statement in [*COMPOSED, *named()]:
            positional = [None] * statement.count("?")
            db.execute(f"EXPLAIN {statement}", positional or defaultdict(lambda: None)).fetchall()

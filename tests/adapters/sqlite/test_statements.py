"""The SQL for a SQLite file: whether it is still what other versions of rstore have stored and send."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from rstore import Store
from rstore.adapters.sqlite import selection
from rstore.adapters.sqlite import statements as sql
from tests.support.digests import digests_of

DIGESTS = {
    "ADD_KEY": "d3ee973919af61bb",
    "ADD_TO_COUNT": "049e2348aa94dd95",
    "ADVANCE_POSITIONS": "f57a74de73c98dd4",
    "APPEND_ONE": "075392f1cc1e9639",
    "BY_CHAIN": "aac7e435d69ef5ab",
    "BEGINNING": "748100946c023ec2",
    "CHANGE_STREAM": "8969fa6bff2c76cf",
    "CHANGE_TAKES": "4b70cdb0ba84c02b",
    "COUNT": "df33f0b28717c8dc",
    "CREATE_STREAM": "091c45cc27042bef",
    "DELETE": "9cd69bc2bd52b8ed",
    "DELETE_ALL": "610903c543257152",
    "DISCARD": "6438250b7d85775e",
    "END": "633a3571138ee0c7",
    "FOLLOW": "db632a35d352463f",
    "FORGET_CHANGE": "1253f0346f9b800f",
    "FORGET_CHANGES": "eb0ec844e36142e6",
    "FORGET_MILESTONES": "51fbf5012863e0a4",
    "FORGET_STREAM": "ef98a76ef3de9bc2",
    "FORGET_STREAMS": "1e2d684e36d237f3",
    "HAS_RECORDS": "68de99f05ee3cfd4",
    "HEAD_BY_TIME": "3e84e862ad2666fd",
    "HEAD_TAKES": "7b1343f80e1a17f6",
    "IDENTITY": "f67e527693a27607",
    "INSERT": "b0e7ca5d3d32b3b5",
    "IN_RANGE": "f1919ce488416645",
    "IS_FOREIGN": "8a1dc2287f480605",
    "IS_USED": "cf6e21730911481e",
    "KEEP_POSITIONS": "51133bf2b4bc5125",
    "LAST": "b4e8214ac30e51da",
    "LAST_OF_ID": "85b1870006f83814",
    "LAST_OF_MANY": "b92332aa77bb517b",
    "LINKS": "34118afda9e041e5",
    "LIST": "9d7eaefe1be59a49",
    "LISTED": "5e75d6d812aed527",
    "LIST_BY_TIME": "36d9329361546986",
    "LIST_LIVE": "4ef2811dbd651b5c",
    "MARK_AGAIN": "fba69aeff9d9fbab",
    "NAMESPACE": "888867067eedd53a",
    "NAMESPACES": "46c2a8d19fe5b4b6",
    "PUT_IN_CHANGE": "8fab58178693b84f",
    "PUT_IN_HEAD": "e208da95035ad2f0",
    "RAISE_FLOOR": "6a3c0f4aeb030cef",
    "REPLACE": "0152edbfc336f2dd",
    "REPLACE_ONE": "b8af35516c9210db",
    "REVIVE": "e02051fa4aa23c07",
    "SET": "d2ffd59a7463039d",
    "SET_ONE": "8717b7e6132a9b9a",
    "SIZE": "b253d981b9bcad28",
    "SIZES": "4fb79372d4deb177",
    "SIZE_OF_STREAMS": "6d953aa49d6a99ce",
    "SNAPSHOT": "9ba02cd884618d26",
    "STREAM": "e603cc24ababc3a5",
    "STREAMS": "e9d265ef6b8500ef",
    "VERSION": "7832b492fe2d6626",
    "WITH_HISTORY": "ae318bd24ed92cff",
    "records": "09ad9f5cd3447e5c",
}

SCHEMA = "86c619cf7c0ce4fad13a65167ac89e49428525a1737f8f90a6d453df35de7f9d"


def test_a_file_holds_the_same_text_of_the_schema_as_ever(tmp_path: Path) -> None:
    """SQLite keeps the text of each CREATE statement, and other versions of rstore open the same file."""
    with Store(tmp_path / "a.db", frozen=False), closing(sqlite3.connect(tmp_path / "a.db")) as db:
        rows = db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    assert sha256(repr(rows).encode()).hexdigest() == SCHEMA


def test_each_statement_is_what_it_was() -> None:
    """A change is a decision: whether its plan is as good, and whether files of other versions take it."""
    assert digests_of(sql, selection) == DIGESTS


FRAGMENTS = {"BY_CHAIN", "IN_RANGE", "LISTED", "SIZE", "DELETE"}
COMPOSED = [start + condition for start in (sql.SIZE, sql.DELETE) for condition in (sql.IN_RANGE, sql.LISTED)]


def named() -> Iterator[str]:
    for name in DIGESTS.keys() - FRAGMENTS - {"records"}:
        value = getattr(sql, name)
        yield from [value] if isinstance(value, str) else value


def test_to_list_a_page_of_keys_of_a_time_looks_at_few_others(tmp_path: Path) -> None:
    """A level of a tree of keys is found by a page for each of its branches."""
    path = tmp_path / "a.db"
    with Store(path, frozen=False) as store:
        store.set_many(dict.fromkeys(map(str, range(5_000)), 1))
        store.set_many(dict.fromkeys(map(str, range(0, 5_000, 2)), 2))
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(path)) as db:
        first, last = db.execute("SELECT min(old_recorded), max(recorded) FROM rstore_change, rstore_head").fetchone()
        db.set_progress_handler(count, 100)
        for until in {first, last}:
            steps = 0
            statement = sql.LIST_BY_TIME.by("kv", until)
            assert [key for key, *_ in db.execute(statement, (1, "kv", "", until, 2))] == ["0", "1"]
            assert steps < 10  # hundreds


def test_sqlite_prepares_each_statement(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False), closing(sqlite3.connect(tmp_path / "a.db")) as db:
        for statement in [*COMPOSED, *named()]:
            numbers = map(int, re.findall(r"\?(\d+)", statement))
            positional = [None] * max(numbers, default=statement.count("?"))
            db.execute(f"EXPLAIN {statement}", positional or defaultdict(lambda: None)).fetchall()


def test_to_begin_to_follow_takes_no_longer_where_no_key_was_set_twice(tmp_path: Path) -> None:
    """A follower reads page by page. Each page is a read of its own, which begins where the last one ended."""
    path = tmp_path / "a.db"
    with Store(path, frozen=False) as store:
        store.set_many(dict.fromkeys(map(str, range(5_000)), 1))
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(path)) as db:
        db.set_progress_handler(count, 100)
        first = db.execute(sql.FOLLOW, (0, 1)).fetchone()
    assert first[:2] == ("kv", "0")
    assert steps < 10  # hundreds

"""A query reads the namespace and nothing else: no file, no network, no variable, no setting."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from rstore import Store
from tests.conftest import in_turn

secret = ["a variable of the caller's"]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("memory://", frozen=False) as opened:
        opened.set("a", 1)
        yield opened


STATEMENTS = (
    "COPY kv TO '{file}'",
    "COPY (SELECT * FROM kv) TO '{file}'",
    "ATTACH '{file}' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL spatial FROM community",
    "SET enable_external_access = true",
    "SET threads = 8",
    "RESET ALL",
    "PRAGMA version",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CREATE TABLE x (a INT)",
    "CREATE SECRET (TYPE s3)",
    "INSERT INTO kv VALUES ('b')",
    "UPDATE kv SET value = 2",
    "DELETE FROM kv",
    "DROP VIEW kv",
    "EXPORT DATABASE '{file}'",
    "IMPORT DATABASE '{file}'",
    "EXPLAIN ANALYZE SELECT * FROM kv",
    "PREPARE x AS SELECT 1",
    "USE memory",
    "CHECKPOINT",
    "BEGIN",
    "VACUUM",
    "COPY kv FROM '{file}'",
    "COPY FROM DATABASE memory TO other",
    "DETACH memory",
    "UPDATE EXTENSIONS",
    "SET VARIABLE x = 1",
    "PRAGMA threads = 3",
    "PRAGMA table_info('kv')",
    "CALL duckdb_settings()",
    "CREATE OR REPLACE VIEW kv AS FROM '{file}'",
    "CREATE TEMP MACRO m() AS TABLE FROM '{file}'",
    "CREATE TEMP TABLE x AS FROM '{file}'",
    "CREATE TYPE x AS ENUM (FROM '{file}')",
    "ALTER TABLE kv ADD COLUMN x INT",
    "MERGE INTO kv USING kv k ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE kv",
    "PREPARE x AS FROM '{file}'",
    "EXECUTE x",
    "DEALLOCATE x",
    "PREPARE x AS SELECT 1; EXECUTE x",
    "EXPLAIN (FORMAT JSON) FROM '{file}'",
    "PIVOT (FROM '{file}') ON a USING count(*)",
    "SELECT 1; COPY kv TO '{file}'",
    "SELECT 1 /* ; */; /* */ SELECT 2",
    "/* SELECT */ COPY kv TO '{file}' -- SELECT",
    "\ufeffCOPY kv TO '{file}'",
    "SELECT 1\u037e COPY kv TO '{file}'",
    "-- SELECT 1",
    ";",
    "",
)


@in_turn("statement", STATEMENTS)
def test_a_statement_that_is_no_query_is_refused(store: Store, statement: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no other statement|syntax error|this takes"):
        store.sql(statement.format(file=tmp_path / "file"))
    assert not (tmp_path / "file").exists()


@in_turn(
    "query",
    [
        "WITH x AS (COPY kv TO ':memory:' (FORMAT csv, USE_TMP_FILE false)) SELECT 1",
        "WITH x AS (COPY (SELECT 1) TO ':memory:.wal' (FORMAT csv, USE_TMP_FILE false)) FROM x",
        "FROM (WITH x AS (COPY (SELECT 1) TO '/dev/stdout') FROM x)",
        "WITH x AS (INSERT INTO kv SELECT * FROM kv RETURNING *) FROM x, kv",
        "WITH x AS (UPDATE kv SET value = 2 RETURNING *) FROM x, kv",
        "SELECT (WITH x AS (DELETE FROM kv RETURNING *) SELECT 1 FROM x, kv)",
        "WITH x AS (TRUNCATE kv) FROM kv",
    ],
)
def test_a_query_writes_nothing_in_with(
    store: Store, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^a query only reads: WITH can't have (COPY|INSERT|UPDATE|DELETE) in it$"):
        store.sql(query)
    assert list(tmp_path.iterdir()) == []


FILES = (
    "SELECT * FROM '{file}'",
    'SELECT * FROM "{file}"',
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM read_csv_auto('{file}')",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_json('{file}')",
    "SELECT * FROM read_parquet('{file}')",
    "SELECT * FROM parquet_scan('{file}')",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM glob('{file}')",
    "SELECT * FROM read_csv('https://example.org/a.csv')",
    "SELECT * FROM 'https://example.org/a.csv'",
    "SELECT * FROM 's3://bucket/a.parquet'",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "WITH x AS (FROM read_text('{file}')) SELECT * FROM x",
    "SELECT * FROM query('FROM read_text(''{file}'')')",
    "SELECT * FROM query_table('kv')",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "SELECT * FROM \"READ_CSV\"('{file}')",
    "SELECT/**/*/**/FROM/**/system.main.read_csv('{file}')",
    "SELECT * FROM kv, LATERAL (SELECT * FROM read_csv(key))",
    "SELECT * FROM kv ASOF JOIN '{file}' r ON version > r.a",
    "FROM kv SEMI JOIN read_text('{file}') r ON true",
    "FROM kv POSITIONAL JOIN '{file}'",
    "SELECT 1 EXCEPT FROM '{file}'",
    "SELECT 1 WHERE 1 IN (FROM '{file}')",
    "SELECT 1 FROM kv QUALIFY EXISTS (FROM '{file}')",
    "SELECT DISTINCT ON ((SELECT a FROM '{file}')) 1",
    "SELECT key FROM kv ORDER BY (SELECT a FROM '{file}')",
    "SELECT 1 LIMIT 1 OFFSET (SELECT a FROM '{file}')",
    "SELECT sum(1) FILTER (WHERE EXISTS (FROM '{file}'))",
    "SELECT sum(1) OVER w FROM kv WINDOW w AS (ORDER BY (SELECT a FROM '{file}'))",
    "SELECT 1 GROUP BY GROUPING SETS ((), ((SELECT a FROM '{file}')))",
    "SELECT list_transform([1], lambda x: (SELECT a FROM '{file}'))",
    "SELECT [a FOR a IN (SELECT [content] FROM read_text('{file}'))]",
    "SELECT * REPLACE ((SELECT a FROM '{file}') AS value) FROM kv",
    "SELECT CASE WHEN true THEN (SELECT a FROM '{file}') END",
    "SELECT * FROM range((SELECT a FROM '{file}'))",
    "VALUES ((SELECT a FROM '{file}'))",
    "WITH x AS MATERIALIZED (WITH y AS (FROM '{file}') FROM y) FROM x",
    "WITH RECURSIVE x AS (SELECT 1 UNION ALL FROM '{file}') FROM x",
    "WITH read_csv AS (SELECT 1) FROM read_csv('{file}')",
    "FROM (PIVOT (FROM '{file}') ON a IN (1) USING count(*))",
    "UNPIVOT (FROM '{file}') ON a INTO NAME n VALUE v",
    "DESCRIBE '{file}'",
    "SUMMARIZE '{file}'",
    "FROM (DESCRIBE SELECT * FROM read_csv('{file}'))",
    "FROM 'file.csv'",
    "FROM 'file://{file}'",
    "FROM glob('*')",
    "FROM sqlite_scan('{file}', 'x')",
    "FROM read_duckdb('{file}')",
    "FROM r\u0435ad_csv('{file}')",
    "FROM \uff52ead_csv('{file}')",
    "FROM \u201ckv\u201d",
)


@in_turn("query", FILES)
def test_a_query_reads_no_file_and_no_address(store: Store, query: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"can't stand in place of a table|there is no table"):
        store.sql(query.format(file=file))


@in_turn(
    "query",
    [
        "SELECT * FROM secret",
        "SELECT * FROM opened",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM duckdb_settings",
        "SELECT * FROM duckdb_settings, (WITH duckdb_settings AS (SELECT 1) SELECT 1)",
        "WITH duckdb_settings AS (SELECT * FROM duckdb_settings) SELECT * FROM duckdb_settings",
        "WITH x AS (SELECT * FROM sqlite_master), sqlite_master AS (SELECT 1) SELECT * FROM x",
        "(WITH duckdb_secrets AS (SELECT 1) FROM duckdb_secrets) UNION ALL FROM duckdb_secrets",
        "WITH RECURSIVE pg_tables AS (SELECT 1 FROM pg_tables UNION ALL SELECT 1 FROM pg_tables) FROM pg_tables",
        'WITH "duc\u212adb_settings" AS (SELECT 1) SELECT * FROM duckdb_settings',
        "SELECT * FROM sqlite_master",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM pg_catalog.pg_settings",
        "SELECT * FROM arrow_scan(1, 2, 3)",
        "SELECT * FROM pandas_scan(1)",
        "SELECT * FROM python_map_function(1)",
        "SELECT * FROM test_all_types()",
        "SELECT * FROM checkpoint()",
        "SELECT * FROM enable_logging()",
        "SELECT getenv('HOME')",
        "TABLE secret",
        "FROM globals",
        "FROM duckdb_secrets(redact = false)",
        "FROM duckdb_variables()",
        "FROM which_secret('s3://bucket', 's3')",
        "FROM temp.main.kv",
        "SELECT current_setting('secret_directory')",
        "SELECT \"CURRENT_SETTING\"('secret_directory')",
        "SELECT system.main.current_setting('allowed_paths')",
        "SELECT 'home_directory'.current_setting()",
        "SELECT list_transform([1], lambda x: current_setting('threads'))",
        "SELECT json_serialize_plan('SELECT current_setting(''secret_directory'')', optimize := true)",
    ],
)
def test_a_query_reads_no_variable_and_no_setting(store: Store, query: str) -> None:
    opened = secret
    assert opened
    with pytest.raises(
        ValueError,
        match=r"can't stand|there is no|no schemas|does not exist|can't be called: a query reads no settings$",
    ):
        store.sql(query)


def test_the_configuration_is_locked_below_the_parser(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a statement to pass by the parser, DuckDB itself would refuse it."""
    import duckdb

    from rstore.sql import query

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("a\n1\n")
    frame = pd.DataFrame({"a": [1]})
    assert len(frame) == 1
    with query._connection() as connection:
        for statement in (
            "SET enable_external_access = true",
            "SET threads = 2",
            f"COPY (SELECT 1) TO '{tmp_path / 'b.csv'}'",
            f"ATTACH '{tmp_path / 'c.db'}'",
            "COPY (SELECT 1) TO ':memory:' (FORMAT csv, USE_TMP_FILE false)",
            "WITH x AS (COPY (SELECT 1) TO ':memory:.wal' (FORMAT csv, USE_TMP_FILE false)) FROM x",
            "SELECT * FROM read_text(':memory:')",
            "SET disabled_filesystems = ''",
            "INSTALL httpfs",
            "LOAD httpfs",
            f"SELECT * FROM read_csv('{tmp_path / 'a.csv'}')",
            f"SELECT * FROM '{tmp_path / 'a.csv'}'",
            "SELECT * FROM frame",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement).fetchall()
        for setting in ("python_enable_replacements", "autoload_known_extensions", "autoinstall_known_extensions"):
            assert connection.execute("SELECT current_setting(?)", [setting]).fetchall() == [(False,)], setting
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv"]


def test_a_query_leaves_nothing_behind_for_the_next_one(store: Store) -> None:
    store.extend("price", (1, 1.0))
    assert store.sql("SELECT * FROM price").rows() == [(1, 1.0)]
    store.remove("price")
    assert store.sql("SELECT * FROM price").rows() == []
    query = "SELECT * FROM unnest([1, 2]) AS t(a), range(2) AS r(b) ORDER BY ALL"
    assert store.sql(query).rows() == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_queries_of_a_process_share_a_database_and_a_forked_process_has_its_own(store: Store) -> None:
    from rstore.sql import query

    def count() -> int:
        assert store.sql("SELECT count(*) FROM kv").rows() == [(1,)]
        return query._database.cache_info().misses

    first = count()
    assert count() == first
    child = os.fork()
    if not child:
        os._exit(0 if count() == first + 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_that_query_at_once_see_only_their_own_tables() -> None:
    def ask(number: int) -> set[int]:
        with Store("memory://", frozen=False) as own:
            own.set("a", number)
            return {own.sql("SELECT value FROM kv").rows()[0][0] for _ in range(5)}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(8))) == [{number} for number in range(8)]

"""Commands that transfer and maintain: copies, exports, imports, backups, checks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas
import pexpect
import pytest

from rstore import Store
from rstore.cli.program import run as run_here
from rstore.cli.progress import reported
from rstore.domain.log import Rewrite
from rstore.domain.streams import Stream
from rstore.progress import Progress
from tests.conftest import KEY, redis
from tests.support.command import COMMAND, NOW, fail, file_name, run, run_seen, tell_a_story

INFO = """\
what         value
───────────────────────────────────────────────
backend      FILE
namespace    default
namespaces   default, other
keys         kv 0, ts 1, es 1
records      es 6, kv 2, ts 1
bytes        BYTES
oldest       2026-11-01 09:00:00.000
newest       2026-11-01 09:02:00.000
encrypted    0%"""


def test_info(file: Store) -> None:
    tell_a_story(file)
    Store(file_name(), "other", frozen=False).open().close()
    seen = run_seen("info").replace(f"sqlite://{file_name()}", "FILE")
    assert re.sub(r"(bytes +)[\d,]+", r"\1BYTES", re.sub("─+", "─" * 47, seen)) == INFO


def test_a_damaged_store_does_not_pass_the_check(file: Store) -> None:
    tell_a_story(file)
    stream = Stream("ts", "temperature")
    (record,) = file._core.log.read(stream)
    damaged = record._replace(data=record.data[:-1] + bytes([record.data[-1] ^ 1]))
    file._core.log.rewrite([Rewrite(stream, None, [record.version], [damaged])])
    (line,) = run("check", code=1).splitlines()
    assert line.startswith("ts\ttemperature\t1\t")


def test_a_backup_is_a_store(file: Store, tmp_path: Path, say: Callable[..., str]) -> None:
    tell_a_story(file)
    run("backup", str(tmp_path / "backup.db"))
    assert say("log", "--oldest", "--dsn", str(tmp_path / "backup.db")) == say("log", "--oldest")
    assert "is there already" in fail("backup", str(tmp_path / "backup.db"), code=3)


@pytest.mark.server
def test_a_store_goes_to_a_server_and_back(file: Store, tmp_path: Path, say: Callable[..., str]) -> None:
    tell_a_story(file)
    there, back, key = redis(), str(tmp_path / "back.db"), str(tmp_path / "key")
    Path(key).write_text(KEY)
    same = ("--namespace", uuid4().hex, "--key-file", key)
    records, digest = run("copy", file_name(), there, "--to-namespace", same[1], "--to-key-file", key).split()
    assert (records, len(digest)) == ("9", 64)
    assert say("get", "price", "--dsn", there, "--at", "2026-11-01 09:00", *same) == '{"amount":12,"currency":"EUR"}\n'
    assert run("copy", there, back, *same).split() == [records, digest]
    assert say("log", "--oldest", "-d", back, *same) == say("log", "--oldest")
    assert fail("copy", file_name(), back, "--to-namespace", same[1], code=3)
    say("discard", "--yes", "--dsn", there, *same)


def test_a_series_that_came_as_a_frame_says_in_which_unit_it_counts(file: Store, say: Callable[..., str]) -> None:
    """Recognised by their size, the first days of 1970 in seconds are no times, and in nanoseconds others."""
    days = pandas.date_range("1970-01-02", periods=3, tz="UTC")
    for unit in ("s", "ns"):
        file.extend(unit, pandas.Series([1.5, 2.5, 3.5], days.as_unit(unit)))
        per_day = int(days.as_unit(unit).asi8[0])
        say("extend", unit, "1970-01-05T00:00Z=4")
        assert file.range(unit) == [(per_day, 1.5), (2 * per_day, 2.5), (3 * per_day, 3.5), (4 * per_day, 4)]
        start = ("--start", "1970-01-04T00:00Z")
        assert [json.loads(line)["timestamp"] for line in say("range", unit, *start, "--json").splitlines()] == [
            3 * per_day,
            4 * per_day,
        ]
        assert "1970-01-0" in run_seen("range", unit)
        assert "01-05" in say("plot", unit)
        say("remove", unit, *start)
        assert len(file.range(unit)) == 2


def test_everything_is_exported_and_comes_back(file: Store, tmp_path: Path, say: Callable[..., str]) -> None:
    tell_a_story(file)
    lines, back = str(tmp_path / "all.jsonl.gz"), str(tmp_path / "back.db")
    sums = run("export", lines)
    assert run("import", lines, "--dsn", back) == sums
    assert run("import", "-", "--dsn", f"{back}2", stdin=say("export")) == sums
    assert say("log", "--oldest", "--dsn", back) == say("log", "--oldest")
    assert fail("import", lines, code=3)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "line 1: the file is empty, or does not begin with the names of columns; nothing was stored"),
        ("t.csv", "t,x\n", "there are no rows in the table, only the names of columns: 't', 'x'"),
        ("t.csv", "t,x\n5,1\nsix,1\n", "line 3: 'six' is no time"),
        ("t.csv", "name,x\nada,1\n", "no column has times"),
        ("t.parquet", "t,x\n5,1\n", "the file can't be read as Parquet"),
        ("t.jsonl", "", "line 1: the file is cut off"),
        ("t.jsonl", '{"time": 5}\n', "line 1: this is no export of a store"),
    ],
)
def test_an_import_that_is_refused_makes_no_store(
    name: str,
    text: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert run_here(["import", name, "--dsn", "new.db"])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert os.listdir(tmp_path) == [name]


def test_tables_of_points(file: Store, tmp_path: Path, say: Callable[..., str]) -> None:
    tell_a_story(file)
    table = run("export", "--format", "csv", "--series", "temperature")
    assert table.splitlines()[:2] == ["time,value", f"{NOW},20.5"]
    weather, parquet = tmp_path / "weather.csv", str(tmp_path / "t.parquet")
    weather.write_text("date,low,high,sky\n2026-11-01,3.5,9,fog\n2026-11-02,,11,rain\n")
    columns = ("--column", "low", "--column", "high")
    assert run("import", str(weather), "--time", "date", *columns, "--series", "berlin") == "2\t3\t0\t1\t0\n"
    assert say("keys", "berlin*") == "ts\tberlin/high\nts\tberlin/low\n"
    say("export", parquet, "-s", "berlin/high")
    say("import", parquet, "--series", "again")
    assert file.range("again") == file.range("berlin/high") == [(1_793_491_200_000, 9), (1_793_577_600_000, 11)]
    say("import", str(weather), "--series", "days", "--rows", "--unit", "s", *columns)
    assert file.range("days")[1] == (1_793_577_600, {"low": None, "high": 11})
    assert run("export", "-f", "csv", "-s", "days").splitlines() == [
        "time,low,high",
        "2026-11-01T00:00:00,3.5,9",
        "2026-11-02T00:00:00,,11",
    ]


@pytest.mark.parametrize("name", ["x.xlsx", "x.jsonl", "-"])
def test_an_export_of_some_series_that_is_no_table_names_the_suffixes_of_tables(file: Store, name: str) -> None:
    file.extend("x", (1, 2))
    advice = "name the file .csv, .tsv, .tab, .txt, .parquet, .pq, or say --format csv or --format parquet"
    assert advice in fail("export", name, "-s", "x", code=2)


GERMAN = "tag;ort;regen;code\n31.12.2025;Ulm;2,2;007\n31.12.2025;Bonn;-;008\n"


def test_how_a_table_is_written_is_said_where_it_does_not_tell(file: Store, say: Callable[..., str]) -> None:
    def imported(table: str, *options: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("import", "-", "--json", *options, stdin=table))
        return found

    assert imported(GERMAN, "--key-column", "ort", "-c", "regen", "-s", "regen") == {
        "rows": 2,
        "points": 1,
        "replaced": 0,
        "not_points": 1,
        "texts_among_numbers": 0,
    }
    assert file.range("regen/Ulm", "2025-12-31") == [(1_767_139_200_000, 2.2)]
    assert imported(GERMAN, "--duplicates", "last", "--null", "-", "--text", "code")["replaced"] == 2
    assert (file.range("regen")[0][1], file.range("code")[0][1]) == (2.2, "008")
    american = "03/04/2026 5:00 PM|1'000\n"
    options = ("--no-header", "--columns", "time,sold", "--date-format", "%m/%d/%Y %I:%M %p", "--delimiter", "|")
    assert imported(american, *options, "--thousands", "'", "--zone", "America/New_York", "--unit", "s")["points"] == 1
    assert file.range("sold") == [(1_772_661_600, 1000)]
    assert file.time_axis("sold").zone == "America/New_York"


def test_what_an_import_refuses_says_how_to_go_on(file: Store) -> None:
    twice = fail("import", "-", code=3, stdin=GERMAN)
    assert "line 3: 'ort' has 2025-12-31T00:00:00.000 already in line 2" in twice
    assert "with --key-column, or let the last row count with --duplicates last" in twice
    assert "(strict)" in fail("import", "-", "--strict", "--key-column", "ort", code=3, stdin=GERMAN)
    assert "--no-header and --columns go together" in fail("import", "-", "--no-header", code=2, stdin="1,2\n")
    assert "leave out --column" in fail("import", "-", "--no-header", "--columns", "a", "-c", "b", code=2, stdin="1\n")
    assert "--duplicates is last, not 'first'" in fail("import", "-", "--duplicates", "first", code=2, stdin="t,x\n")
    assert "the file is JSON Lines" in fail("import", "-", "--zone", "UTC", code=2, stdin='{"rstore": 1}\n')
    assert file.timeseries() == []


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "t.csv.gz", "t.tsv.gz", "t", "t.dat"])
def test_a_table_is_known_by_its_name_or_by_how_it_begins(file: Store, tmp_path: Path, name: str) -> None:
    file.extend("s", (1, "a\tb"), (2, 2.5), (3, "c\r"))
    path = str(tmp_path / name)
    run("export", path, "-s", "s", "-f", "csv")
    assert run("import", path, "-s", "back") == "3\t3\t0\t0\t2\n"
    assert file.range("back") == file.range("s")


@pytest.mark.slow
def test_what_comes_through_a_pipe_is_known_by_how_it_begins(file: Store, tmp_path: Path) -> None:
    text, cells = 't,x\r\n1,"a\rb"\r\n2,b\r\n', [(1, "a\rb"), (2, "b")]
    done = subprocess.run([*COMMAND, "import", "-"], input=text.encode(), capture_output=True, check=True)
    assert (done.stdout, file.range("x")) == (b"2\t2\t0\t0\t0\n", cells)
    run("export", str(tmp_path / "t.pq"), "-s", "x")
    parquet = (tmp_path / "t.pq").read_bytes()
    subprocess.run([*COMMAND, "import", "-", "-s", "y"], input=parquet, capture_output=True, check=True)
    assert file.range("y") == cells
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen([*COMMAND, "import", str(tmp_path / "fifo"), "-s", "z"], stdout=subprocess.PIPE) as process:
        (tmp_path / "fifo").write_bytes(text.encode())
        assert process.communicate(timeout=60)[0] == b"2\t2\t0\t0\t0\n"
    assert file.range("z") == cells


def test_an_hour_that_comes_twice_is_told_of(file: Store) -> None:
    table = "t,x\n2026-10-25 02:00,1\n2026-10-25 02:00,2\n"
    done = subprocess.run(
        [*COMMAND, "import", "-", "--zone", "Europe/Berlin"], input=table, capture_output=True, text=True, check=True
    )
    assert "2 times came twice, because clocks were put back in Europe/Berlin" in done.stderr
    assert [time for time, _ in file.range("x")] == [1_792_886_400_000, 1_792_890_000_000]


def test_long_work_shows_how_far_it_is_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("rstore.cli.progress._PATIENCE_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with reported("records") as told:
        assert told
        for done in (1000, 2000, 3000, 1):
            told(Progress(done, 4000))
            time.sleep(0.15)  # it is painted ten times a second
    seen = re.sub(r"\x1b\[[\d;?]*\w", "", screen.getvalue())
    assert re.search(r"3,000 records .*/s +\d:\d\d:\d\d", seen)
    assert re.search(r"\r1 records ━+ +-:--:--", seen)  # it has begun anew
    monkeypatch.setattr("sys.stderr", StringIO())
    with reported("records") as told:
        assert told is None


def test_a_shell_has_the_store(file: Store) -> None:
    file["price"] = 12
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "shell"], encoding="utf-8", env={**os.environ, "PYTHON_BASIC_REPL": "1"}
    )
    child.expect(r">>> |In \[1\]:")  # where IPython is installed, it is that
    child.sendline("s['price'] + 30")
    child.expect_exact("42")
    child.sendline("s['price'] = 1")
    child.expect_exact("FrozenStoreError")
    child.sendline("exit()")
    child.read()

"""The command: as a process, with and without a terminal, on a file and on a server; its pure parts in this one."""

from __future__ import annotations

import json
import math
import operator
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from io import BufferedReader, BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import ANY, patch
from uuid import uuid4

import pandas
import pexpect
import pytest
import typer
from freezegun import freeze_time

import rstore
from rstore import Store
from rstore.cli import main
from rstore.cli.changes import parse_changes
from rstore.cli.charts import Curve, characters, common_unit, runs, steps, thinned
from rstore.cli.describe import stamps
from rstore.cli.program import ADVICE, program
from rstore.cli.program import run as run_here
from rstore.cli.progress import reported
from rstore.cli.times import parse_time, show_time, write_time
from rstore.cli.units import MICROSECONDS, MILLISECONDS, NANOSECONDS, SECONDS, recognised
from rstore.cli.values import parse_value, show_value, to_json
from rstore.domain.log import Rewrite
from rstore.domain.streams import Stream
from rstore.progress import Progress
from tests.conftest import KEY, OTHER_KEY, redis

LIBRARY = Path(rstore.__file__).parent
COMMAND = (sys.executable, "-m", "rstore")
COMMANDS: dict[str, Any] = typer.main.get_command(program()).commands  # type: ignore[attr-defined]  # it is a group
NOW = 1_793_523_600_000  # 2026-11-01 09:00 UTC
STAMPED = "2026-11-01T09:00:00.000+00:00"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of who runs the tests: one time zone, one width, no store."""
    for name in [name for name in os.environ if name.startswith("RSTORE_") and not name.startswith("RSTORE_TEST_")]:
        monkeypatch.delenv(name)
    for name, value in {"TZ": "UTC", "COLUMNS": "100", "LINES": "30", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def use(monkeypatch: pytest.MonkeyPatch, dsn: str, namespace: str) -> Store:
    monkeypatch.setenv("RSTORE_DSN", dsn)
    monkeypatch.setenv("RSTORE_NAMESPACE", namespace)
    return Store(dsn, namespace, frozen=False)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store in a file, which commands find in the environment."""
    with use(monkeypatch, str(tmp_path / "test.db"), "default") as store:
        yield store


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store in a file or on a server, which commands find in the environment."""
    dsn = str(tmp_path / "test.db") if request.param == "sqlite" else redis()
    with use(monkeypatch, dsn, uuid4().hex) as store:
        yield store
        store.discard()


def call(words: tuple[str, ...], stdin: str) -> tuple[int, str, str]:
    """Run the command in this process, and return its exit code and what it printed on streams that are no terminal.

    A process would take ten times as long, to start. What is about processes starts one: see ``COMMAND``.
    """
    given, printed, said = BytesIO(stdin.encode()), BytesIO(), BytesIO()
    streams = (BufferedReader(given), printed, said)
    opened = [TextIOWrapper(stream, encoding="utf-8") for stream in streams]
    with patch.multiple(sys, **dict(zip(("stdin", "stdout", "stderr"), opened, strict=True))):
        code = run_here(words)
    return code, printed.getvalue().decode(), said.getvalue().decode()


def run(*words: str, stdin: str = "", code: int = 0, note: str = "") -> str:
    """Run the command without a terminal, and return what it printed; on standard error is a note at most."""
    ended, printed, said = call(words, stdin)
    assert (ended, said) == (code, note)
    return printed


def fail(*words: str, code: int, stdin: str = "") -> str:
    """Run a command that is refused, and return the one line that it says."""
    ended, printed, said = call(words, stdin)
    assert (ended, printed) == (code, ""), said
    (line,) = said.splitlines()
    return line


def run_seen(*words: str, code: int = 0, **environment: str) -> str:
    """Run the command on a terminal, and return what was to be seen on it."""
    child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], *words], dimensions=(30, 100), env={**os.environ, **environment})
    seen = child.read().decode()
    child.close()
    assert child.exitstatus == code
    return "\n".join(line.rstrip() for line in seen.splitlines())


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in this process, which is faster, and return what it printed."""

    def say_it(*words: str) -> str:
        assert run_here(words) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return say_it


def tell_a_story(store: Store) -> None:
    """Some minutes in the life of a store, at known times."""
    with freeze_time(datetime.fromtimestamp(NOW / 1000, UTC)) as clock:
        with store.context(who="ada", why="ticket 42"):
            store["price"] = {"amount": 12, "currency": "EUR"}
            store.apply("account", {"owner": "Ada", "balance": 10})
        clock.tick(60)
        store.apply("account", {"balance": (operator.add, 5), "limit": (operator.setitem, 100)})
        clock.tick(60)
        store.extend("temperature", *((NOW + minute * 60_000, 20.5 + minute) for minute in range(4)))
        with store.context(who="eve"):
            store.apply("account", {"limit": (operator.delitem, None), "balance": 20})
            store.delete("price")


# -- every command, on a file and on a server --------------------------------------------------------------------------


def test_values(place: Store) -> None:
    run("set", "price", '{"amount": 12}', "--who", "ada", "--why", "ticket 42")
    assert run("get", "price") == '{"amount":12}\n'
    assert [(change.value, change.who, change.why) for change in place.history("price")] == [
        ({"amount": 12}, "ada", "ticket 42")
    ]
    run("delete", "price")
    assert list(place) == []
    assert fail("get", "price", code=1) == "rstore: there is no value 'price'"


def test_event_sequences(place: Store) -> None:
    words = ("apply", "account", "owner=Ada", "balance=10", "typo=1", "--time", str(NOW))
    assert run(*words) == "owner\tAda\nbalance\t10\ntypo\t1\n"
    assert run("apply", "account", "balance+=5", "~typo") == "owner\tAda\nbalance\t15\n"
    assert json.loads(run("past", "account", "2026-11-01 09:00", "--json")) == {
        "key": "account",
        "timestamp": NOW,
        "state": {"owner": "Ada", "balance": 10, "typo": 1},
    }
    assert run("diff", "account", str(NOW)) == "-\ttypo\t1\n-\tbalance\t10\n+\tbalance\t15\n"
    assert run("events", "account", "--item", "balance", "--op", "setitem") == f"{STAMPED}\tbalance\tsetitem\t10\n"
    run("revert", "account", str(NOW), "--why", "it was right before")
    assert run("current", "account") == "owner\tAda\nbalance\t10\ntypo\t1\n"
    assert len(run("history", "account").splitlines()) == 7
    assert json.loads(run("prune", "account", "--json"))["records"] == 4


@pytest.mark.slow
def test_an_event_sequence_is_deleted_where_that_is_said(place: Store) -> None:
    place.apply("account", {"owner": "Ada"}, t=NOW)
    place["account"] = 1
    run("delete", "account", "--kind", "es", "--why", "closed")
    assert "there is no event sequence 'account'" in fail("current", "account", code=1)
    assert run("get", "account") == "1\n"
    assert run("past", "account", str(NOW)) == "owner\tAda\n"
    told = [json.loads(line) for line in run("history", "account", "--kind", "es", "--json").splitlines()]
    assert [(each["op"], each["item"], each["value"], each["why"]) for each in told[1:]] == [
        ("delitem", "owner", None, "closed"),
        ("delete", "", None, "closed"),
    ]
    assert "\tdelete\t" in run("log")
    assert "nothing was deleted" in fail("delete", "account", "--kind", "es", code=1)
    assert "remove deletes its points" in fail("delete", "account", "--kind", "ts", code=2)
    assert json.loads(run("prune", "account", "--json"))["records"] == 3


NOTHING_ERASED = "nothing was erased: this is what would be erased without --dry-run\n"


def test_what_was_erased_and_by_whom_is_in_the_log(place: Store) -> None:
    for n in range(3):
        place.apply("account", {"n": n})
        place["price"] = n
    planned = json.loads(run("prune", "--dry-run", "--json", note=NOTHING_ERASED))
    assert planned["records"] == 2
    assert len(place.events("account") or ()) == 3
    assert json.loads(run("prune", "account", "--who", "ada", "--why", "ticket 42", "--json")) == planned
    assert run("compact", "--dry-run", note=NOTHING_ERASED) == run("compact", "--yes")
    erased = {"kind": "es", "key": "account", "versions": ANY, **planned, "sha256": None}
    pruned = json.loads(run("log", "--json").splitlines()[1])
    assert [pruned[name] for name in ("kind", "key", "op", "who", "why")] == [
        "es",
        "account",
        "prune",
        "ada",
        "ticket 42",
    ]
    assert pruned["value"] == {**planned, "streams": [erased]}
    told = f"2 records, {planned['bytes']} bytes, erased of 1 key: account"
    assert run("history", "account").splitlines()[-1].split("\t")[-5:-1] == ["prune", told, "ada", "ticket 42"]


def test_time_series(place: Store) -> None:
    run("extend", "temperature", stdin=f"{NOW} 20.5\n{NOW + 60_000} 21\n2026-11-01 09:02\t22\n2026-11-01T09:03 null\n")
    assert place.range("temperature") == [(NOW, 20.5), (NOW + 60_000, 21), (NOW + 120_000, 22), (NOW + 180_000, None)]
    assert run("range", "temperature", "--start", "2026-11-01 09:02") == f"{NOW + 120_000}\t22\n{NOW + 180_000}\tnull\n"
    assert "20.5" in run("plot", "temperature")
    run("remove", "temperature", "--end", "2026-11-01 09:01")
    assert place.first("temperature") == (NOW + 120_000, 22)


def test_the_whole_store(place: Store) -> None:
    tell_a_story(place)
    assert run("keys") == "ts\ttemperature\nes\taccount\n"
    changes = [json.loads(line) for line in run("log", "--oldest", "--json").splitlines()]
    followed = [json.loads(line) for line in run("follow", "--wait", "0", "--json").splitlines()]
    assert [{**change, "checkpoint": ANY} for change in changes] == followed
    assert json.loads(run("info", "--json"))["records"] == {"es": 6, "kv": 2, "ts": 1}
    assert run("check") == ""
    assert run("compact", "--yes").startswith("6\t")
    assert fail("discard", code=2) == "rstore: there is no terminal to ask on: say --yes"
    assert len(place.timeseries()) == 1
    run("discard", "--yes")
    assert list(use_again(place).timeseries()) == []


def use_again(store: Store) -> Store:
    store.close()
    return store.open()


ON_A_SERVER = """
set price '{"amount": 12}' --who ada --why 'ticket 42'
get price
apply account owner=Ada balance=10
apply account balance+=5 limit=100
current account
past account now
events account
history account --plot balance
diff account '1 day ago' now
extend temperature now=20.5 '1 hour ago=19'
range temperature
resample temperature 1h --how max
plot temperature --out temperature.png
info
keys
log
revert account '1 day ago'
remove temperature --start '2 hours ago' --end '30 minutes ago'
delete price
prune account
compact --yes
export saved.jsonl
discard --yes
import saved.jsonl
check
copy "$RSTORE_DSN" copy.db --namespace "$RSTORE_NAMESPACE"
new-key > app.key
rekey --plaintext --key-file app.key
protect --key-file app.key
unprotect --key-file app.key
shell --key-file app.key <<< 'print(len(list(s.log())))'
backup backup.db || test $? = 3
follow --key-file app.key --wait 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("on_terminal", [True, False], ids=["terminal", "pipe"])
def test_every_command_in_a_file_and_on_a_server(
    place: Store, on_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shell for all, since a terminal for each would take longer than the commands."""
    monkeypatch.chdir(tmp_path)
    lines = ON_A_SERVER.strip().splitlines()
    assert {line.split()[0] for line in lines} == set(COMMANDS)
    rstore = f"{COMMAND[0]} -m rstore"
    script = "\n".join(f"echo '$ {number}'; {rstore} {line}" for number, line in enumerate(lines))
    Path("script.sh").write_text(f"set -e\n{script}\n", "utf-8")
    place.close()  # a file may be deleted by discard
    if on_terminal:
        child = pexpect.spawn("bash", ["script.sh"], dimensions=(30, 120), timeout=120)
        seen = child.read().decode()
        child.close()
        code = child.exitstatus
    else:
        done = subprocess.run(["bash", "script.sh"], capture_output=True, text=True, timeout=120, check=False)
        seen, code = done.stdout + done.stderr, done.returncode
    assert code == 0, seen
    assert ("\t" in seen) != on_terminal, "tables are for terminals, tabs for programs"
    place.open()
    assert {"temperature.png", "saved.jsonl", "copy.db"} <= {path.name for path in tmp_path.iterdir()}


def test_resample(file: Store, say: Callable[..., str]) -> None:
    """The unit of times that came one by one is recognised by their size; a number counts as they do."""
    file.extend("seen", *((NOW + minute * 60_000, minute) for minute in range(4)))
    assert say("resample", "seen", "2min") == f"{NOW}\t0.5\n{NOW + 120_000}\t2.5\n"
    assert say("resample", "seen", "120000", "--how", "sum", "--start", "2026-11-01 09:02") == f"{NOW + 120_000}\t5\n"
    days = pandas.date_range("2026-11-01", periods=48, freq="h", tz="Europe/Berlin", unit="s")
    file.extend("berlin", pandas.Series(1.0, days))
    rows = [json.loads(line) for line in say("resample", "berlin", "1D", "--how", "count", "--json").splitlines()]
    assert rows == [{"timestamp": 1_793_487_600, "value": 24}, {"timestamp": 1_793_574_000, "value": 24}]
    assert "09:02" in run_seen("resample", "seen", "2min", "--how", "max")
    assert "5min" in fail("resample", "seen", "a while", code=2)
    assert "there is no series 'price'" in fail("resample", "price", "1h", code=1)


def test_text_is_told_from_json(file: Store, say: Callable[..., str]) -> None:
    say("set", "zip", "12345", "--text")
    assert (file["zip"], say("get", "zip"), say("get", "zip", "--text")) == ("12345", '"12345"\n', "12345\n")
    say("apply", "account", "zip=12345", "--text")
    assert file.current("account") == {"zip": "12345"}


def test_what_was_known_then_is_shown(file: Store, say: Callable[..., str]) -> None:
    tell_a_story(file)
    first, last = "2026-11-01 09:00", "2026-11-01T09:02Z"
    assert say("get", "price", "--at", first) == '{"amount":12,"currency":"EUR"}\n'
    assert say("keys", "--at", first) == "kv\tprice\nes\taccount\n"
    assert say("keys", "t*", "--at", last) == "ts\ttemperature\n"
    assert say("current", "account", "--at", first) == "owner\tAda\nbalance\t10\n"
    assert say("past", "account", last, "--at", first) == "owner\tAda\nbalance\t10\n"
    assert say("diff", "price", first, last, "--json") == (
        '{"sign":"-","item":"price","value":{"amount":12,"currency":"EUR"}}\n'
    )
    assert say("diff", "temperature", first, last).count("+\t") == 4
    assert len(say("history", "account", "--at", first).splitlines()) == 2
    assert len(say("log", "--at", first).splitlines()) == 3


def test_what_was_is_brought_back(file: Store, say: Callable[..., str]) -> None:
    tell_a_story(file)
    say("revert", "price", "2026-11-01 09:00", "--who", "ada")
    assert file["price"] == {"amount": 12, "currency": "EUR"}
    say("revert", "temperature", "2026-11-01 09:00")
    assert file.timeseries() == []


def test_who_changes_it_may_be_said_once_for_all(
    file: Store, say: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSTORE_WHO", "ada")
    say("set", "price", "1")
    say("set", "price", "2", "--who", "eve")
    assert [change.who for change in file.history("price")] == ["ada", "eve"]


# -- golden outputs ----------------------------------------------------------------------------------------------------

LOG = """\
2026-11-01 09:02:00.000  eve
    es account  limit deleted
    es account  balance = 20
    kv price  deleted

2026-11-01 09:02:00.000  nobody
    ts temperature  4 points from 2026-11-01 09:00:00.000 to 2026-11-01 09:03:00.000: 20.5, 21.5, 22.5, ...

2026-11-01 09:01:00.000  nobody
    es account  balance += 5
    es account  limit = 100

2026-11-01 09:00:00.000  ada
    ticket 42
    kv price  = {"amount":12,"currency":"EUR"}
    es account  owner = Ada
    es account  balance = 10
"""


def test_log_on_a_terminal(file: Store) -> None:
    tell_a_story(file)
    assert run_seen("log") == LOG


def test_log_without_a_terminal(file: Store) -> None:
    tell_a_story(file)
    some = ("--kind", "es", "--prefix", "acc", "--since", "2026-11-01 09:01", "-n", "3")
    assert run("log", *some, note="(3 of 4 changes: --number 4 or --oldest shows all)\n") == (
        f"2026-11-01T09:02:00.000+00:00\tes\taccount\t5\t{NOW + 120_000}\tlimit\tdelitem\t\teve\t\t\n"
        f"2026-11-01T09:02:00.000+00:00\tes\taccount\t6\t{NOW + 120_000}\tbalance\tsetitem\t20\teve\t\t\n"
        f"2026-11-01T09:01:00.000+00:00\tes\taccount\t4\t{NOW + 60_000}\tlimit\tsetitem\t100\t\t\t\n"
    )


def test_log_for_programs(file: Store, say: Callable[..., str]) -> None:
    tell_a_story(file)
    first, *others = map(json.loads, say("log", "--oldest", "--json").splitlines())
    assert first["value"] == {"amount": 12, "currency": "EUR"}
    assert [*first.items()][:7] == [
        *(("recorded", NOW), ("kind", "kv"), ("key", "price"), ("version", 1)),
        *(("timestamp", None), ("item", ""), ("op", "setitem")),
    ]
    assert [*first.items()][8:] == [("who", "ada"), ("why", "ticket 42"), ("more", None)]
    assert [change["value"] for change in others if change["kind"] == "ts"] == [
        [[NOW, 20.5], [NOW + 60_000, 21.5], [NOW + 120_000, 22.5], [NOW + 180_000, 23.5]]
    ]


DIFF = """\
sign   item      value
──────────────────────
-      limit     100
-      balance   15
+      balance   20"""

HISTORY = """\
recorded                  version   op        value                            who   why
──────────────────────────────────────────────────────────────────────────────────────────────
2026-11-01 09:00:00.000         1   setitem   {"amount":12,"currency":"EUR"}   ada   ticket 42
2026-11-01 09:02:00.000         2   delitem                                    eve"""


def test_diff_on_a_terminal(file: Store) -> None:
    tell_a_story(file)
    assert run_seen("diff", "account", "2026-11-01 09:01", "2026-11-01 09:02") == DIFF


def test_history_on_a_terminal(file: Store) -> None:
    tell_a_story(file)
    assert run_seen("history", "price") == HISTORY


@pytest.mark.slow
def test_nothing_that_is_stored_plays_with_the_terminal(file: Store) -> None:
    file["\x1b[31m[red]key"] = "\x1b[2J\x9b2J[bold]"
    with file.context(who="\x1b]0;title\x07", why="line\nline"):
        file.apply("account", {"\x1bc": b"\x1b"})
    seen = run_seen("log") + run_seen("history", "account") + run_seen("log", "--json")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", seen)
    assert "[red]key" in seen


@pytest.mark.slow
def test_colours_are_for_terminals(file: Store) -> None:
    tell_a_story(file)
    assert "\x1b[1;36m2026-11-01 09:02:00.000  eve\x1b[0m" in run_seen("log", TERM="xterm-256color")
    assert "\x1b[38;5;" in run_seen("plot", "temperature", TERM="xterm-256color")
    assert "\x1b[38;5;" not in run_seen("plot", "temperature", TERM="xterm-256color", NO_COLOR="1")


# -- which store, and with which key -----------------------------------------------------------------------------------


def test_options_stand_before_the_command_or_after_it(tmp_path: Path, say: Callable[..., str]) -> None:
    dsn = str(tmp_path / "other.db")
    say("set", "price", "1", "--dsn", dsn, "--namespace", "n", "--serializer", "json")
    words = ("--namespace", "n", "--json", "--serializer", "json")
    assert say("--dsn", dsn, *words, "get", "price") == '{"key":"price","value":1}\n'
    assert say("--dsn", "nowhere.db", *words, "get", "price", "--dsn", dsn) == '{"key":"price","value":1}\n'
    assert "say which --serializer" in fail("get", "price", "--dsn", dsn, "--namespace", "n", code=3)


@pytest.mark.slow
def test_keys_come_from_a_file_the_environment_or_a_prompt(
    file: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[..., str]
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# the key of 2026\n{KEY}\n\n{OTHER_KEY}\n")
    say("set", "pin", "1234", "--key-file", str(keys))
    assert fail("get", "pin", code=3) == (
        "rstore: kv 'pin' in namespace 'default': encrypted: say the key with --key-file, --ask-key or RSTORE_KEY"
    )
    child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "get", "pin", "--ask-key"], encoding="utf-8")
    child.expect_exact("Key:")
    child.sendline(KEY)
    assert child.read().split() == ["1234"]  # the key is not echoed
    monkeypatch.setenv("RSTORE_KEY", f"{OTHER_KEY},{KEY}")
    assert run("rekey") == "1\n"
    monkeypatch.setenv("RSTORE_KEY", OTHER_KEY)
    assert say("get", "pin") == "1234\n"


def test_a_job_that_has_no_key_or_the_old_one_writes_nothing(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"namespace {place.namespace!r}"
    monkeypatch.setenv("RSTORE_KEY", KEY)
    run("set", "pin", "1")
    monkeypatch.setenv("RSTORE_KEY", f"{OTHER_KEY},{KEY}")
    assert run("rekey") == "1\n"

    monkeypatch.setenv("RSTORE_KEY", KEY)
    old = fail("set", "pin", "2", code=3)
    assert old.startswith(f"rstore: {where} is encrypted with another key: add its line to the --key-file; or say ")
    monkeypatch.delenv("RSTORE_KEY")
    for words in (("set", "pin", "2"), ("extend", "t", "1=2"), ("apply", "a", "n=1"), ("delete", "pin")):
        none = fail(*words, code=3)
        assert where in none
        assert none.endswith(
            "holds encrypted values: say the key with --key-file, --ask-key or RSTORE_KEY, "
            "or --plain to write in clear beside them; nothing was stored"
        )
    none = fail("import", "-", "--format", "csv", stdin="time,t\n1,2\n", code=3)
    assert "holds encrypted values" in none

    monkeypatch.setenv("RSTORE_KEY", OTHER_KEY)
    assert run("keys") == "kv\tpin\n"
    assert run("get", "pin") == "1\n"
    run("set", "pin", "3")
    assert run("check") == ""


def test_what_is_meant_can_be_said(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    place["plain"] = 1
    run("set", "plain", "2")  # where nothing is encrypted, nobody is asked
    monkeypatch.setenv("RSTORE_KEY", KEY)
    run("set", "pin", "1")
    monkeypatch.setenv("RSTORE_KEY", OTHER_KEY)
    run("set", "code", "1", "--other-key")
    run("set", "code", "2")
    monkeypatch.delenv("RSTORE_KEY")
    run("set", "plain", "3", "--plain")
    assert run("get", "plain") == "3\n"


def test_a_protected_namespace_takes_nothing_in_clear(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTORE_KEY", KEY)
    run("protect")
    monkeypatch.delenv("RSTORE_KEY")
    assert fail("set", "pin", "2", "--plain", code=3).endswith(
        "is protected, and takes no values in clear: say the key with --key-file, --ask-key or RSTORE_KEY; "
        "nothing was stored"
    )
    assert "there is no key to seal the policy with" in fail("unprotect", code=3)
    assert run("keys") == ""
    monkeypatch.setenv("RSTORE_KEY", KEY)
    run("unprotect")
    monkeypatch.delenv("RSTORE_KEY")
    run("set", "pin", "2", "--plain")


def test_a_key_is_asked_for_once_however_many_stores_are_opened(
    file: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[..., str]
) -> None:
    typed: list[str] = []
    monkeypatch.setattr("rstore.cli.target.getpass", lambda prompt: (typed.append(prompt), KEY)[1])
    say("set", "pin", "1", "--ask-key")
    say("delete", "pin", "--ask-key")
    say("copy", file_name(), str(tmp_path / "copy.db"), "--ask-key")
    assert typed == ["Key: "] * 3


def test_without_a_key_nothing_is_done(
    file: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end_of_input(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("rstore.cli.target.getpass", end_of_input)
    assert run_here(["set", "pin", "1", "--ask-key"]) == 1
    assert capsys.readouterr().err == "rstore: no key was typed: nothing was done\n"


def test_a_new_key_can_be_used(file: Store, tmp_path: Path, say: Callable[..., str]) -> None:
    (tmp_path / "key").write_text(run("new-key"))
    say("set", "pin", "1", "--key-file", str(tmp_path / "key"))
    assert "encrypted: " in fail("get", "pin", code=3)


# -- how it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("get price --key-file KEYS", 3, "not encrypted, and this store has a key: --plaintext reads those too"),
        ("get pin --key-file KEYS", 3, "encrypted with another key: add its line to the --key-file"),
        ("get nothing", 1, "there is no value 'nothing'"),
        ("get price --at 2000-01-01", 1, "there is no value 'price' as of 2000-01-01 00:00:00.000"),
        ("get account", 1, "there is no value 'account': it is the key of an event sequence"),
        ("current temperature", 1, "there is no event sequence 'temperature': it is the key of a series"),
        ("range nothing", 1, "there is no series 'nothing'"),
        ("remove price", 1, "there is no series 'price': it is the key of a value"),
        ("history nothing", 1, "there is no key 'nothing'"),
        ("history account --plot nothing", 1, "'account' has no events of an item 'nothing'"),
        ("delete price nothing", 1, "there is no value 'nothing': nothing was deleted"),
        ("prune nothing", 1, "there is no event sequence 'nothing': nothing was erased"),
        ("revert nothing now", 1, "there is no key 'nothing'"),
        ("revert price now --kind es", 1, "there is no event sequence 'price': it is the key of a value"),
        ("past account never", 2, "'never' is no time: write it as"),
        ("past account 2026-13-01", 2, "'2026-13-01' is no time: write it as"),
        ("get price --at 2026", 2, "2026 is too long ago for POSIX ms: write a date as 2026-01-01, and seconds with"),
        ("log --since 1793523600", 2, "1793523600 is too long ago for POSIX ms"),
        ("diff price 20261101", 2, "20261101 is too long ago for POSIX ms"),
        ("revert price -- -5", 2, "-5 is too long ago for POSIX ms"),
        ("compact", 2, "there is no terminal to ask on: say --yes"),
        ("prune", 2, "there is no terminal to ask on: say --yes"),
        ("compact --before 0", 2, "0 is too long ago for POSIX ms"),
        (
            "follow --after x",
            2,
            "'x' is no checkpoint of the namespace 'default', but of another one, or of what was copied there: begin",
        ),
        ("apply account balance", 2, "'balance' is no change: write item=value"),
        ("apply account a=1 a+=1", 2, "item 'a' is changed twice"),
        ("extend temperature 20", 2, "'20' is no point: write TIME=VALUE"),
        ("extend steps yesterday=1", 2, "the timestamps of 'steps' don't look like times (2)"),
        ("extend temperature -- --5=1", 2, "'--5' is no time: write it as"),
        ("keys --kind xy", 2, "--kind is kv, ts, es, not 'xy'"),
        ("events account --op plus", 2, "no operator is called plus: use setitem, delitem, add"),
        ("plot temperature --out chart.gif", 2, "pictures are .png or .svg files, not 'chart.gif'"),
        ("plot texts", 2, "'texts' has no number at 1 but a str: it can't be drawn"),
        ("plot far", 2, "'far' has -1e+308 at 2, which is too far away to be drawn"),
        ("plot temperature --json", 2, "--json prints no picture"),
        ("nonsense", 2, "No such command 'nonsense'. (rstore COMMAND --help shows how)"),
        ("get", 2, "Missing argument 'key'"),
        ("get price --serializer xml", 2, "the serializer is pickle or json or msgpack, not 'xml'"),
        ("get price --dsn http://x", 2, "unknown scheme http://"),
        ("get price --dsn nowhere.db", 3, "no file sqlite://nowhere.db (`rstore set` and others that write make one)"),
        ("discard --dsn nowhere.db --yes", 3, "no file sqlite://nowhere.db"),
        ("import nowhere --dsn nowhere.db", 3, "No such file or directory: nowhere"),
        ("rekey", 3, "put it into a --key-file, in a line before the old one"),
        ("keys --dsn postgresql://ada:secret@localhost:1/db", 3, "postgresql://ada@localhost:1/db: connection"),
        ("get price --key-file nowhere", 3, "No such file or directory: nowhere"),
        ("apply account owner+=1", 3, "operator.add fails on item 'owner'"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    words: str, code: int, message: str, file: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").write_text(KEY)
    with Store(file_name(), key=OTHER_KEY, frozen=False) as other:
        other["pin"] = 1
    file["price"] = 1
    file.apply("account", {"owner": "Ada"})
    file.extend("temperature", (NOW, 20.5))
    file.extend("steps", (1, 1), (2, 2))
    file.extend("texts", (1, "a"))
    file.extend("far", (1, 1.0), (2, -1e308))
    assert run_here(words.replace("KEYS", str(tmp_path / "keys")).split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert not Path("nowhere.db").exists()
    (line,) = err.splitlines()
    assert line.startswith("rstore: ")
    assert message in line
    assert "secret" not in line


def test_what_is_to_be_imported_needs_an_empty_namespace(file: Store, say: Callable[..., str], tmp_path: Path) -> None:
    file["price"] = 1
    saved = str(tmp_path / "saved.jsonl")
    say("export", saved)
    assert "choose another namespace, or `rstore discard` this one first; nothing" in fail("import", saved, code=3)


def test_what_can_not_be_printed_is_told_and_stored_all_the_same(file: Store) -> None:
    with open("/dev/full", "w") as full:
        command = [*COMMAND, "apply", "account", "balance=10"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    problem = "the output could not be written: No space left on device; see `rstore log` for what is stored"
    assert (done.returncode, done.stderr) == (3, f"rstore: {problem}\n")
    assert file.current("account") == {"balance": 10}


def test_it_tells_its_version(say: Callable[..., str]) -> None:
    assert say("--version") == f"rstore {version('rlib-store')}\n"


@pytest.mark.parametrize("advice", ADVICE)
def test_advice_for_who_types_is_for_something_that_the_library_says(advice: str) -> None:
    assert any(advice in path.read_text("utf-8") for path in LIBRARY.rglob("*.py") if "cli" not in path.parts)


def test_a_traceback_is_shown_to_who_asks_for_it(file: Store, capsys: pytest.CaptureFixture[str]) -> None:
    file["price"] = 1
    assert run_here(["past", "price", "never", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_without_a_store_it_says_how_to_name_one() -> None:
    assert fail("keys", code=2) == (
        "rstore: which store? Say it with --dsn FILE, --dsn postgresql://..., or in RSTORE_DSN"
    )


def test_the_script_that_is_installed_runs_it() -> None:
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        assert resolve_name(tomllib.load(file)["project"]["scripts"]["rstore"]) is main


def test_without_typer_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from rstore.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rstore: the command needs the package typer: pip install 'rlib-store[cli]'\n"


PRINTING = ("get price", "apply account balance=10", "log", "keys --json", "export -", "new-key", "--help", "--version")
"""Commands that print in different ways, long before their end or just there."""


@pytest.mark.slow
@pytest.mark.parametrize("words", PRINTING)
def test_output_that_can_not_be_written_is_an_error_of_the_command(file: Store, words: str) -> None:
    """Also what is still in a buffer at its end: otherwise the interpreter writes it, and exits with 120."""
    file["price"] = 10
    full = {">/dev/full": "No space left on device"} if Path("/dev/full").exists() else {}  # there is none on macOS
    for target, problem in {**full, ">&-": "Bad file descriptor"}.items():
        done = subprocess.run(
            ["bash", "-c", f"{' '.join(COMMAND)} {words} {target}"], capture_output=True, text=True, check=False
        )
        told = f"rstore: the output could not be written: {problem}; see `rstore log` for what is stored\n"
        assert (done.returncode, done.stderr) == (3, told), target


@pytest.mark.slow
@pytest.mark.parametrize("words", PRINTING)
def test_a_reader_that_goes_away_before_anything_was_printed_is_no_error(file: Store, words: str) -> None:
    file["price"] = 10
    command = f"(sleep 0.1; exec {' '.join(COMMAND)} {words}) | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.parametrize(("words", "code"), [("get price", 0), ("get", 2), ("set price 11", 0)])
def test_what_nobody_can_be_told_changes_no_exit_code(file: Store, words: str, code: int) -> None:
    file["price"] = 10
    for target in ("2>/dev/full", "2>&-"):
        done = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} {words} {target}"], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (code, b"")


def test_who_reads_may_go_away(file: Store) -> None:
    file.extend("steps", ((time, time) for time in range(100_000)))
    command = f"{' '.join(COMMAND)} range steps | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("0\t0\n141\n", "")


def test_follow_shows_what_comes_until_it_is_interrupted(file: Store) -> None:
    file["price"] = 1
    follower = subprocess.Popen(
        [*COMMAND, "follow", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert follower.stdout
    first = json.loads(follower.stdout.readline())
    file["price"] = 2
    assert json.loads(follower.stdout.readline())["value"] == 2
    follower.send_signal(signal.SIGINT)
    assert follower.communicate(timeout=30) == ("", "")
    assert follower.returncode == 130
    assert json.loads(run("follow", "--json", "--after", first["checkpoint"], "--wait", "0"))["value"] == 2


def test_points_that_are_interrupted_are_not_stored(file: Store) -> None:
    writer = subprocess.Popen([*COMMAND, "extend", "steps"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert writer.stdin
    writer.stdin.write("".join(f"{time} {time}\n" for time in range(20_000)))
    writer.stdin.flush()  # more than a pipe holds: it is reading
    writer.send_signal(signal.SIGINT)
    _, said = writer.communicate(timeout=30)
    assert (writer.returncode, said) == (130, "")
    assert file.timeseries() == []


def test_a_question_is_answered_on_a_terminal(file: Store) -> None:
    file["price"] = 1
    for answer, code, left in (("n", 1, ["price"]), ("y", 0, [])):
        child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "discard"], encoding="utf-8")
        child.expect_exact("for ever? [y/N]:")
        child.sendline(answer)
        child.read()
        child.close()
        assert child.exitstatus == code
        with use_again(file) as again:
            assert list(again) == left


def test_before_all_is_erased_it_is_asked_and_told_how_much_goes(file: Store) -> None:
    for n in range(3):
        file["price"] = n
        file.apply("account", {"n": n})
    for command, answer, code, events in (("prune", "n", 1, 3), ("prune", "y", 0, 1), ("compact", "n", 1, 1)):
        child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], command], encoding="utf-8", dimensions=(30, 300))
        child.expect(r"Erase 2 records \([\d,]+ bytes\) of the history of .* for ever\? \[y/N\]:")
        child.sendline(answer)
        child.read()
        child.close()
        assert child.exitstatus == code
        assert len(file.events("account") or ()) == events
    assert len(file.history("price")) == 3


# -- moving and caring -------------------------------------------------------------------------------------------------

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


def file_name() -> str:
    return os.environ["RSTORE_DSN"]


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
    assert "--key-column" in twice
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


# -- help and completion -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_a_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"Example: .*rstore {name}\b", out)
    assert "─" not in out


def test_nothing_in_a_help_is_taken_for_markup_on_a_terminal() -> None:
    from rich.markup import render

    for name, command in COMMANDS.items():
        for text in (command.help, *(getattr(parameter, "help", None) for parameter in command.params)):
            assert text is None or render(text).plain == text, name


def test_help_lists_all_commands_and_exit_codes() -> None:
    out = run("--help")
    assert sorted(re.findall(r"^  ([a-z]\S*)  ", out, re.MULTILINE)) == sorted(COMMANDS)
    assert re.findall(r"^ +(\d+)  \w", out, re.MULTILINE) == ["0", "1", "2", "3", "130", "141"]
    assert "╭─ Read" in run_seen("--help")


def test_without_a_command_the_help_is_shown_line_by_line(file: Store) -> None:
    assert run(code=2) == run("--help")
    assert run("--dsn", "other.db", code=2) == run("--help")
    assert "╭─ Read" in run_seen(code=2)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed = {"COMP_WORDS": "rstore his", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "rstore his"}
    for name, value in {**typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}.items():
        monkeypatch.setenv(name, value)
    for instruction, expected in (("source", f"_RSTORE_COMPLETE=complete_{shell}"), ("complete", "history")):
        monkeypatch.setenv("_RSTORE_COMPLETE", f"{instruction}_{shell}")
        assert run_here([]) == 0
        assert expected in capsys.readouterr().out


def test_completion_is_shown_for_the_shell_that_asks() -> None:
    shown = subprocess.run(
        ["bash", "-c", f"{' '.join(COMMAND)} --show-completion; true"], capture_output=True, text=True, check=True
    )
    assert "complete -o default -F _rstore_completion rstore" in shown.stdout


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pictures(file: Store, tmp_path: Path) -> None:
    tell_a_story(file)
    file.extend("$a_b$", (NOW, 1), (NOW + 60_000, math.nan), (NOW + 120_000, 3), (NOW + 180_000, None))
    png, svg = tmp_path / "t.png", tmp_path / "balance.SVG"
    run("plot", "temperature", "$a_b$", "--out", str(png))
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    assert len(png.read_bytes()) > 10_000
    assert run_here(["history", "account", "--plot", "balance", "--out", str(svg)]) == 0
    assert "<svg" in svg.read_text()


def test_of_rows_each_column_is_drawn(file: Store, say: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    file.extend("price", *((NOW + minute * 60_000, {"bid": 1.0, "ask": minute, "at": "A"}) for minute in range(4)))
    both = say("plot", "price")
    assert "price.bid" in both
    assert "price.ask" in both
    assert "price.at" not in both
    assert "price.ask" not in say("plot", "price", "--column", "bid")
    assert run_here(["plot", "price", "--column", "last"]) == 2
    assert capsys.readouterr().err == "rstore: 'price' has the columns bid, ask, at\n"
    assert run_here(["plot", "price", "--column", "at"]) == 2
    assert "'price.at' has no number at" in capsys.readouterr().err


def test_an_item_is_drawn_over_time(file: Store, capsys: pytest.CaptureFixture[str]) -> None:
    tell_a_story(file)
    assert run_here(["history", "account", "--plot", "balance"]) == 0
    drawn = capsys.readouterr().out
    assert all(label in drawn for label in ("10", "15", "20", "09:00:00", "09:02:00"))


def test_gaps_in_a_drawing_are_not_bridged() -> None:
    whole = Curve("c", [0, 10, 20, 30], [1.0, 1.0, 1.0, 1.0])
    gap = whole._replace(values=[1.0, 1.0, math.nan, 1.0])
    lines, holed = (characters([curve], colours=False) for curve in (whole, gap))
    assert sum(map(lines.count, "▀▄━▁")) > sum(map(holed.count, "▀▄━▁")) + 20


def test_what_is_not_finite_is_a_gap_in_a_drawing(file: Store, capsys: pytest.CaptureFixture[str]) -> None:
    file.extend("ratio", (1, math.inf), (2, 1.5), (3, -math.inf), (4, 2.5), (5, math.nan))
    assert run_here(["plot", "ratio"]) == 0
    assert "2.5" in capsys.readouterr().out


def test_curves() -> None:
    curve = Curve("c", list(range(1000)), [float(time == 551) for time in range(1000)])
    assert 1.0 in thinned(curve, 10).values
    assert len(thinned(curve, 10).times) <= 40
    assert (thinned(curve, 10).times[0], thinned(curve, 10).times[-1]) == (0, 999)
    assert steps(Curve("c", [], [])) == Curve("c", [], [])
    assert list(runs(Curve("c", [1], [math.nan]))) == []


# -- times, values and changes -----------------------------------------------------------------------------------------


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-11-01 09:00"),
        ("today", "2026-11-01 00:00"),
        ("Yesterday", "2026-10-31 00:00"),
        ("tomorrow 7:30", "2026-11-02 07:30"),
        ("07:30:15", "2026-11-01 07:30:15"),
        ("2026-10-01", "2026-10-01 00:00"),
        ("2026-10-01 08:15", "2026-10-01 08:15"),
        ("2026-10-01T08:15:30.250", "2026-10-01 08:15:30.250"),
        ("2026-10-01T08:15+02:00", "2026-10-01 06:15"),
        ("20261001T0815Z", "2026-10-01 08:15"),
        ("90 s ago", "2026-11-01 08:58:30"),
        ("an hour ago", "2026-11-01 08:00"),
        ("36h ago", "2026-10-30 21:00"),
        ("3 days ago", "2026-10-29 09:00"),
        ("2 weeks ago", "2026-10-18 09:00"),
        ("8 months ago", "2026-03-01 09:00"),
        ("2 years ago", "2024-11-01 09:00"),
        ("1000", "1970-01-01 00:00:01"),
        ("-1000", "1969-12-31 23:59:59"),
    ],
)
def test_times(text: str, meant: str) -> None:
    expected = datetime.fromisoformat(meant).replace(tzinfo=UTC)
    assert parse_time(text, NOW) == round(expected.timestamp() * 1000)


@pytest.mark.parametrize(
    "text", ["", "soon", "3 moons ago", "ago", "2026-13-01", "25:00", "yesterday 25:00", "9" * 30, "9999999 years ago"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        parse_time(text, NOW)


def test_a_day_ends_at_midnight_where_the_user_is(berlin: None) -> None:
    assert parse_time("2026-11-01 10:00", NOW) == NOW
    hours = (NOW - parse_time("8 days ago", NOW)) / 3_600_000
    assert hours == 8 * 24 + 1  # summer time ended in between: at the same time of the day
    assert (show_time(NOW), write_time(NOW)) == ("2026-11-01 10:00:00.000", "2026-11-01T10:00:00.000+01:00")


def test_of_an_hour_that_comes_twice_the_first_is_taken_and_told(
    berlin: None, capsys: pytest.CaptureFixture[str]
) -> None:
    first = parse_time("2026-10-25 02:30", NOW)
    assert first == parse_time("2026-10-25T02:30+02:00", NOW) == parse_time("2026-10-25 02:30", NOW)
    assert capsys.readouterr().err == (
        "rstore: that time comes twice here, and 2026-10-25 02:30:00+02:00 is taken: "
        "for the other, say 2026-10-25 02:30:00+01:00\n"
    )
    assert parse_time("2026-10-25 02:30:00+01:00", NOW) == first + 3_600_000
    parse_time("2026-10-25 03:00", NOW)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["2026-03-29 02:30", "2026-03-29T02:00"])
def test_a_time_that_summer_time_passed_over_is_no_time(berlin: None, text: str) -> None:
    with pytest.raises(ValueError, match="because clocks were put forward: write it with an offset"):
        parse_time(text, NOW)
    assert parse_time(f"{text}+01:00", NOW) == parse_time(text.replace("02:", "03:"), NOW)
    assert parse_time("2026-10-25 02:30", NOW) == parse_time("2026-10-25 02:30+02:00", NOW)  # the first of the two


def test_the_end_of_a_shorter_month() -> None:
    end_of_march = round(datetime(2026, 3, 31, tzinfo=UTC).timestamp() * 1000)
    assert show_time(parse_time("1 month ago", end_of_march)) == "2026-02-28 00:00:00.000"


def test_times_beyond_the_calendar_are_numbers() -> None:
    assert (show_time(2**63 - 1), write_time(-(2**63))) == (str(2**63 - 1), str(-(2**63)))
    assert show_time(-1) == "1969-12-31 23:59:59.999"


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -1.5, 10**30, "", " ", "Ada Lovelace", "12", "null", '"', "a\nb", "NaN", "über", "\x1b"),
        *([1, [2]], {"a": {"b": []}}, {"": None}),
    ],
)
def test_what_is_shown_can_be_typed(value: Any) -> None:
    shown = show_value(value)
    assert shown.isprintable()
    assert (parse_value(shown), type(parse_value(shown))) == (value, type(value))


class Odd:
    def __repr__(self) -> str:
        return "<odd\x1b[2J\nthing>"


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, math.nan, math.inf, b"x", {"a": {1}}, [(1,)], Odd()])
def test_what_is_no_json_is_shown_as_python_does(value: Any) -> None:
    assert to_json(value) == {"repr": repr(value)}
    assert show_value(value).isprintable()


@pytest.mark.parametrize(
    ("word", "item", "change"),
    [
        ("a=1", "a", (operator.setitem, 1)),
        ("a=", "a", (operator.setitem, "")),
        ("a=b=c", "a", (operator.setitem, "b=c")),
        ("a=-1", "a", (operator.setitem, -1)),
        ("a-=1", "a", (operator.sub, 1)),
        ("my-item=1", "my-item", (operator.setitem, 1)),
        ("my item+=[2]", "my item", (operator.add, [2])),
        ("a*=2", "a", (operator.mul, 2)),
        ("a**=2", "a", (operator.pow, 2)),
        ("a/=2", "a", (operator.truediv, 2)),
        ("a//=2", "a", (operator.floordiv, 2)),
        ("a<<=2", "a", (operator.lshift, 2)),
        ("a:mul=2", "a", (operator.mul, 2)),
        ("a:and_=2", "a", (operator.and_, 2)),
        ("a:b=2", "a:b", (operator.setitem, 2)),
        ("a:neg", "a", (operator.neg, None)),
        ("~a=1", "a=1", (operator.delitem, None)),
        ("=1", "", (operator.setitem, 1)),
    ],
)
def test_changes(word: str, item: str, change: Any) -> None:
    assert parse_changes([word]) == {item: change}


@pytest.mark.parametrize("word", ["a", "a:mul", "", "a:b"])
def test_what_is_no_change(word: str) -> None:
    with pytest.raises(ValueError, match="is no change: write item=value"):
        parse_changes([word])


def test_a_series_may_begin_before_its_unit_can_be_told() -> None:
    early = -600_000_000_000
    old, new = Curve("old", [early, NOW], [1.0, 2.0]), Curve("new", [NOW - 1000, NOW], [1.0, 2.0])
    assert common_unit([old, new]) == MILLISECONDS
    assert "1950-12-27" in characters([old, new], colours=False)
    assert stamps(MILLISECONDS).terminal(early) == "1950-12-27 13:20:00.000"
    assert common_unit([old, Curve("seconds", [NOW // 1000], [1.0])]) is None
    assert common_unit([Curve("old", [-(2**63), NOW], [1.0, 2.0])]) is None


def test_units() -> None:
    seconds = NOW // 1000
    assert [recognised(seconds * unit) for unit in (1, 10**6, 10**9)] == [SECONDS, MICROSECONDS, NANOSECONDS]
    assert recognised(seconds, NOW) is None
    assert recognised(10**20) is None
    assert (NANOSECONDS.from_ms(5), NANOSECONDS.to_ms(5_999_999)) == (5_000_000, 5)

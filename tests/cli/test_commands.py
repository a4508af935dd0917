"""Every command, on a file and on a server."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import pandas
import pexpect
import pytest

from rstore import Store
from tests.support import forked
from tests.support.command import COMMANDS, NOW, STAMPED, fail, run, run_seen, tell_a_story, use_again


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


@pytest.mark.slow
def test_an_event_sequence_whose_values_cannot_be_loaded_is_deleted(
    place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("gone_for_good")
    module.Gone = type("Gone", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    place.apply("account", {"owner": module.Gone()})
    monkeypatch.delitem(sys.modules, module.__name__)
    run("delete", "account", "--kind", "es")
    assert place.eventsources() == []


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
    assert run("history", "account").splitlines()[-1].split("\t")[-8:-4] == ["prune", told, "ada", "ticket 42"]


def test_time_series(place: Store) -> None:
    run("extend", "temperature", stdin=f"{NOW} 20.5\n{NOW + 60_000} 21\n2026-11-01 09:02\t22\n2026-11-01T09:03 null\n")
    assert place.range("temperature") == [(NOW, 20.5), (NOW + 60_000, 21), (NOW + 120_000, 22), (NOW + 180_000, None)]
    assert run("range", "temperature", "--start", "2026-11-01 09:02") == f"{NOW + 120_000}\t22\n{NOW + 180_000}\tnull\n"
    assert run("range", "temperature", "-n", "-1") == f"{NOW + 180_000}\tnull\n"
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
tag 'close of May'
tags
keys --at 'close of May'
untag 'close of May'
deliveries
sql 'SELECT count(*) FROM kv'
projections
retain 'log/*' '90 days'
retentions
retry mail || test $? = 1
skip mail price || test $? = 1
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


FORKED = str(Path(forked.__file__))


@pytest.mark.slow
@pytest.mark.parametrize(("place", "on_terminal"), [("sqlite", True), ("redis", False)], indirect=["place"])
def test_every_command_in_a_file_and_on_a_server(
    place: Store, on_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process for all imports the command, since to start Python for each takes longer than the commands.

    In a file on a terminal, on a server in a pipe: how a command prints does not depend on where the store is.
    """
    monkeypatch.chdir(tmp_path)
    lines = ON_A_SERVER.strip().splitlines()
    # serve does not end by itself: test_serve.py starts it as a process
    assert {line.split()[0] for line in lines} == set(COMMANDS) - {"serve"}
    Path("script").write_text(ON_A_SERVER.strip(), "utf-8")
    command = [sys.executable, FORKED, "script"]
    place.close()  # a file may be deleted by discard
    if on_terminal:
        child = pexpect.spawn(command[0], command[1:], dimensions=(30, 120), timeout=120)
        seen = child.read().decode()
        child.close()
        code = child.exitstatus
    else:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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

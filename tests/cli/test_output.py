"""Golden outputs: on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from rstore import Store
from tests.support.command import NOW, run, run_seen, tell_a_story

LOG = """\
2026-11-01 09:02:00.000  eve
    kv price  deleted

2026-11-01 09:02:00.000  eve
    es account  limit deleted
    es account  balance = 20

2026-11-01 09:02:00.000  nobody
    ts temperature  4 points from 2026-11-01 09:00:00.000 to 2026-11-01 09:03:00.000: 20.5, 21.5, 22.5, ...

2026-11-01 09:01:00.000  nobody
    es account  balance += 5
    es account  limit = 100

2026-11-01 09:00:00.000  ada
    ticket 42
    es account  owner = Ada
    es account  balance = 10

2026-11-01 09:00:00.000  ada
    ticket 42
    kv price  = {"amount":12,"currency":"EUR"}
"""


def test_log_on_a_terminal(file: Store) -> None:
    tell_a_story(file)
    assert run_seen("log") == LOG


def test_log_without_a_terminal(file: Store) -> None:
    tell_a_story(file)
    ids = [change.commit for change in file.history("account")[-2:]]
    assert ids[0] == ids[1]
    some = ("--kind", "es", "--prefix", "acc", "--since", "2026-11-01 09:01", "-n", "3")
    assert run("log", *some, note="(3 of 4 changes: --number 4 or --oldest shows all)\n") == (
        f"2026-11-01T09:02:00.000+00:00\tes\taccount\t5\t{NOW + 120_000}\tlimit\tdelitem\t\teve\t\t\t\t\t{ids[0]}\n"
        f"2026-11-01T09:02:00.000+00:00\tes\taccount\t6\t{NOW + 120_000}\tbalance\tsetitem\t20\teve\t\t\t\t\t{ids[0]}\n"
        f"2026-11-01T09:01:00.000+00:00\tes\taccount\t4\t{NOW + 60_000}\tlimit\tsetitem\t100\t\t\t\t\t\t\n"
    )


def test_log_for_programs(file: Store, say: Callable[..., str]) -> None:
    tell_a_story(file)
    first, *others = map(json.loads, say("log", "--oldest", "--json").splitlines())
    assert first["value"] == {"amount": 12, "currency": "EUR"}
    assert [*first.items()][:7] == [
        *(("recorded", NOW), ("kind", "kv"), ("key", "price"), ("version", 1)),
        *(("timestamp", None), ("item", ""), ("op", "setitem")),
    ]
    assert [*first.items()][8:-1] == [
        *(("who", "ada"), ("why", "ticket 42"), ("more", None), ("did", None), ("arguments", None)),
    ]
    assert first["commit"] == file.history("price")[0].commit
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


def test_log_by_the_words_of_a_context(file: Store) -> None:
    """A word may be a text or a number: both are written alike."""
    for request in ("4711", 4711, ["a"]):
        with file.context(who="ada", did="pay", request=request):
            file.set("price", request)
    assert [line.split("\t")[7] for line in run("log", "--more", "request=4711").splitlines()] == ["4711", '"4711"']
    assert len(run("log", "--did", "pay", "--more", 'request=["a"]').splitlines()) == 1
    assert run("log", "--did", "ship") == run("log", "--more", "request=1") == ""
    assert run_seen("log", "--more", "request=4711").count("ada  pay()") == 2


def test_log_of_changes_on_a_terminal_names_the_keys(file: Store) -> None:
    with file.context(who="ada", did="pay"):
        file.set_many({"a": 1, "b": 2})
    seen = run_seen("log", "--changes").splitlines()
    assert [line.split()[2:] for line in seen[2:]] == [
        ["kv", "a", "1", "setitem", "1", "ada", "pay"],
        ["kv", "b", "1", "setitem", "2", "ada", "pay"],
    ]

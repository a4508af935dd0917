"""Running the command, in this process and as one of its own, with and without a terminal."""

from __future__ import annotations

import operator
import os
import sys
from datetime import UTC, datetime
from io import BufferedReader, BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pexpect
import typer
from freezegun import freeze_time

import rstore
from rstore import Store
from rstore.cli.program import program
from rstore.cli.program import run as run_here

if TYPE_CHECKING:
    import pytest

LIBRARY = Path(rstore.__file__).parent
COMMAND = (sys.executable, "-m", "rstore")
COMMANDS: dict[str, Any] = typer.main.get_command(program()).commands  # type: ignore[attr-defined]  # it is a group
NOW = 1_793_523_600_000  # 2026-11-01 09:00 UTC
STAMPED = "2026-11-01T09:00:00.000+00:00"


def use(monkeypatch: pytest.MonkeyPatch, dsn: str, namespace: str) -> Store:
    monkeypatch.setenv("RSTORE_DSN", dsn)
    monkeypatch.setenv("RSTORE_NAMESPACE", namespace)
    return Store(dsn, namespace, frozen=False)


def call(words: tuple[str, ...], stdin: str) -> tuple[int, str, str]:
    """Run the command in this process on streams that are no terminal, and return its exit code and both outputs.

    A process of its own would take ten times as long to start. Tests of processes start one: see ``COMMAND``.
    """
    given, printed, said = BytesIO(stdin.encode()), BytesIO(), BytesIO()
    streams = {"stdin": BufferedReader(given), "stdout": printed, "stderr": said}
    opened: dict[str, Any] = {name: TextIOWrapper(stream, encoding="utf-8") for name, stream in streams.items()}
    with patch.multiple(sys, **opened):
        code = run_here(words)
    return code, printed.getvalue().decode(), said.getvalue().decode()


def run(*words: str, stdin: str = "", code: int = 0, note: str = "") -> str:
    """Run the command without a terminal, and return its output; standard error has at most a note."""
    ended, printed, said = call(words, stdin)
    assert (ended, said) == (code, note)
    return printed


def fail(*words: str, code: int, stdin: str = "") -> str:
    """Run a command that fails, and return its one line of an error."""
    ended, printed, said = call(words, stdin)
    assert (ended, printed) == (code, ""), said
    (line,) = said.splitlines()
    return line


def run_seen(*words: str, code: int = 0, **environment: str) -> str:
    """Run the command on a terminal, and return the text that the terminal shows."""
    child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], *words], dimensions=(30, 100), env={**os.environ, **environment})
    seen = child.read().decode()
    child.close()
    assert child.exitstatus == code
    return "\n".join(line.rstrip() for line in seen.splitlines())


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


def file_name() -> str:
    return os.environ["RSTORE_DSN"]


def use_again(store: Store) -> Store:
    store.close()
    return store.open()

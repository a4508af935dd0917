"""Stores for the command, which it finds in the environment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from rstore import Store
from rstore.cli.program import run as run_here
from tests.conftest import redis
from tests.support.command import use


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests see one time zone, one width and no store, whatever the environment of the person that runs them."""
    for name in [name for name in os.environ if name.startswith("RSTORE_") and not name.startswith("RSTORE_TEST_")]:
        monkeypatch.delenv(name)
    for name, value in {"TZ": "UTC", "COLUMNS": "100", "LINES": "30", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


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


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in this process, which is faster, and return its output."""

    def say_it(*words: str) -> str:
        assert run_here(words) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return say_it

"""Retentions on the command line: how long something is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from rstore import Store
from rstore.cli.program import run

if TYPE_CHECKING:
    import pytest


def test_retentions(file: Store, say: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert say("retentions") == ""
    assert say("retain", "log/*", "90 days", "--kind", "kv", "--who", "ada") == ""
    assert say("retain", "x", "36h") == ""
    found = [json.loads(line) for line in say("retentions", "--json").splitlines()]
    assert [(each["pattern"], each["age"], each["kind"], each["who"]) for each in found] == [
        ("log/*", "90 days", "kv", "ada"),
        ("x", "1 day, 12:00:00", None, None),
    ]
    assert say("retain", "x", "--end") == ""
    assert [each.pattern for each in file.retentions()] == ["log/*"]
    for words in (
        ("retain", "x"),
        ("retain", "x", "1h", "--end"),
        ("retain", "x", "90 moons"),
        ("retain", "x", "1h", "-k", "y"),
    ):
        assert run(words) == 2
        assert capsys.readouterr().err

"""Projections and deliveries on the command line: how far behind they are, and what they could not deal with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from rstore import Change, Delivery, Store
from rstore.cli.program import run

if TYPE_CHECKING:
    import pytest

Say = Callable[..., str]


def fail(delivery: Delivery) -> None:
    raise ConnectionError("no route")


def test_deliveries_retry_and_skip(file: Store, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("deliveries") == ""
    file["a"] = file["b"] = 1
    file.deliver("mail", fail, attempts=1)
    assert say("deliveries").split("\t")[:6] == ["mail", "0", "0", "0", "2", "2"]
    told = [json.loads(line) for line in say("deliveries", "mail", "--json").splitlines()]
    assert [(each["key"], each["state"], each["error"]) for each in told] == [
        ("a", "parked", "ConnectionError: no route"),
        ("b", "parked", "ConnectionError: no route"),
    ]
    for words, note in (("retry", "mail", "a"), "tried anew"), (("skip", "mail", "b"), "not be delivered"):
        assert run(words) == 0
        printed, said = capsys.readouterr()
        assert printed.startswith(f"kv\t{words[-1]}\tparked\t")
        assert (said.startswith("1 message will"), note in said) == (True, True)
    sent: list[str] = []
    assert file.deliver("mail", lambda each: sent.append(each.key)) == 1
    assert sent == ["a"]
    for words in (("retry", "mail"), ("skip", "mail", "a")):
        assert run(words) == 1
        assert "the delivery 'mail' has no such message" in capsys.readouterr().err
    assert run(("skip", "mail")) == 2
    capsys.readouterr()
    for words in (
        ("deliveries", "nothing"),
        ("retry", "nothing"),
        ("skip", "nothing", "a"),
        ("projections", "nothing"),
    ):
        assert run(words) == 1
        assert "in this store: `rstore" in capsys.readouterr().err


def test_projections(file: Store, say: Say) -> None:
    def fail(change: Change, store: Store) -> None:
        raise LookupError

    assert say("projections") == ""
    file["a"] = 1
    file.project("counts", fail, on_error="skip")
    file["a"] = file["b"] = 2
    ((name, checkpoint, records, _, skipped),) = [line.split("\t") for line in say("projections").splitlines()]
    assert (name, records, skipped) == ("counts", "2", "1")
    assert [change.key for _, change in file.follow(checkpoint)] == ["a", "b"]
    (told,) = [json.loads(line) for line in say("projections", "counts", "--json").splitlines()]
    assert (told["kind"], told["key"], told["error"]) == ("kv", "a", "LookupError")

"""Tags on the command line: set, listed, and taken in place of a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from rstore import Store
from rstore.cli.program import run

Say = Callable[..., str]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command that fails, and return its exit code and message."""
    code = run(words)
    return code, capsys.readouterr().err


@pytest.fixture
def tagged(file: Store) -> Store:
    """A store with a moment that has a name."""
    file["price"] = 10
    file.apply("account", {"balance": 1})
    time.sleep(0.005)  # two events in one millisecond would have the next one as a valid time
    file.tag("close of May")
    file["price"] = 11
    file.apply("account", {"balance": 2})
    return file


def test_tag_untag_and_tags(file: Store, say: Say) -> None:
    assert say("tags") == ""
    file["price"] = 10
    say("tag", "close of May", "2026-06-01 00:00", "--who", "ada", "--why", "audit")
    say("tag", "the same", "close of May")
    moment = file.at("close of May").moment
    assert moment == file.at("the same").moment == 1_780_272_000_000
    assert say("tags").splitlines()[0].split("\t")[:2] == ["close of May", "2026-06-01T00:00:00.000+00:00"]
    say("tag", "close of May", "2026-06-02", "--move")
    say("untag", "close of May")
    say("untag", "the same")
    assert say("tags") == ""
    told = [json.loads(line) for line in say("tags", "close of May", "--json").splitlines()]
    day = 86_400_000
    assert [each["moment"] for each in told] == [moment, moment + day, None]
    assert (told[0]["who"], told[0]["why"]) == ("ada", "audit")


def test_commands_take_a_tag_in_place_of_a_time(tagged: Store, say: Say) -> None:
    assert say("get", "price", "--at", "close of May") == "10\n"
    assert say("past", "account", "close of May") == "balance\t1\n"
    assert say("diff", "account", "close of May") == "-\tbalance\t1\n+\tbalance\t2\n"
    assert len(say("log", "--since", "close of May").splitlines()) == 2
    assert len(say("log", "--until", "close of May").splitlines()) == 2
    assert len(say("follow", "--since", "close of May", "--wait", "0").splitlines()) == 2
    say("revert", "account", "close of May")
    say("revert", "price", "close of May")
    assert (tagged["price"], tagged.current("account")) == (10, {"balance": 1})
    tagged["price"] = 12
    assert say("compact", "--before", "close of May").startswith("0\t")
    assert say("tags", "--at", "2026-01-01") == ""


def test_info_lists_tags(tagged: Store, say: Say) -> None:
    assert say("info").splitlines()[-1] == "tags\tclose of May"
    assert json.loads(say("info", "--json"))["tags"] == ["close of May"]
    tagged.untag("close of May")
    assert "\ntags\t" not in say("info")


@pytest.mark.parametrize("name", ["now", "today", "3 days ago", "9:00", "2026-05-01", "17"])
def test_a_name_that_is_a_time_is_refused(tagged: Store, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, "tag", name)
    assert (code, "can't be the name of a tag" in message) == (2, True)


def test_an_unknown_tag_is_refused_and_the_nearest_named(tagged: Store, capsys: pytest.CaptureFixture[str]) -> None:
    near = "the tags nearest to it are 'close of May'\n"
    for words in (["get", "price", "--at"], ["log", "--since"], ["past", "account"], ["untag"], ["tag", "a"]):
        code, message = refused(capsys, *words, "close of Mai")
        assert (code, message.endswith(near)) == (2, True)


def test_a_tag_is_moved_only_on_request(tagged: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, "tag", "close of May")
    assert code != 0
    assert "--move" in message

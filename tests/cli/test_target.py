"""Which store a command uses, and with which key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from rstore import Store
from rstore.cli.program import run as run_here
from tests.conftest import KEY, OTHER_KEY
from tests.support.command import COMMAND, fail, file_name, run


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

"""The help of commands, and completion."""

from __future__ import annotations

import re
import subprocess

import pytest

from rstore import Store
from rstore.cli.program import run as run_here
from tests.support.command import COMMAND, COMMANDS, run, run_seen


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

"""How a command ends: its errors and exit codes, pipes that break, interrupts and questions."""

from __future__ import annotations

import ast
import json
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import pexpect
import pytest

from rstore import Store
from rstore.cli import main
from rstore.cli.advice import ADVICE, translated
from rstore.cli.program import run as run_here
from tests.conftest import KEY, OTHER_KEY
from tests.support.command import COMMAND, LIBRARY, NOW, fail, file_name, run, use_again


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


MODULES = [path for path in LIBRARY.rglob("*.py") if "cli" not in path.parts]
ADVICE_IN_PYTHON = re.compile(r"\w\(\)|\b[A-Za-z_]+=(?:\.\.\.|True|False|\[|')|TableOptions")
ONLY_PROGRAMS_MEET = (
    "a checkpoint is a str that follow() has yielded",
    "use it in a 'with' block, or call open() first",
    "open it with frozen=False to write",
    "store its .",
    "give what JSON can hold, or its str()",
    "its function can't call project() for it again",
    "use transact(..., once=...)",
    "pass plain=True",
    "name its class in Repository(",
    "one that awaits calls asyncio.run() inside",
    "skip() takes the keys of which",
    "keeps no list of skipped changes",
    "is no store: history=False is for read models",
    "does not know what projection ",
    "reindex() does not work inside a transaction",
    "on() takes decisions or classes of events",
    " has no functions yet: see on()",
    "name a field and its value",
    "call reindex() of the repository",
)


@pytest.mark.parametrize("advice", ADVICE)
def test_each_translated_advice_is_in_a_message_of_the_library(advice: str) -> None:
    assert any(advice in path.read_text("utf-8") for path in MODULES)


def test_no_message_advises_a_user_of_the_command_to_write_python() -> None:
    messages = [translated(message) for path in MODULES for message in messages_of(path)]
    reachable = [message for message in messages if not any(each in message for each in ONLY_PROGRAMS_MEET)]
    assert len(messages) > len(reachable) > 500
    assert [message for message in reachable if ADVICE_IN_PYTHON.search(message)] == []


def messages_of(path: Path) -> Iterator[str]:
    """Yield the texts in a module that may be messages: those with a blank, in one line, but no docstrings or SQL."""
    tree = ast.parse(path.read_text("utf-8"))
    ignored = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            ignored |= set(map(id, node.values))
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))
        if id(node) not in ignored and " " in text and "\n" not in text and not text.startswith("SELECT"):
            yield text


def test_a_check_and_a_log_give_their_advice_to_a_user_of_the_command(file: Store, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEY)
    file["price"] = 1
    run("protect", "--key-file", str(tmp_path / "keys"), "--plaintext")
    run("set", "pin", "1", "--key-file", str(tmp_path / "keys"))
    problems = run("check", "--key-file", str(tmp_path / "keys"), "--plaintext", code=1)
    assert "`rstore rekey --plaintext` encrypts it" in problems
    for words in (("check",), ("log",), ("log", "--json")):
        printed = run(*words, code=int(words[0] == "check"))
        assert "encrypted: say the key with --key-file, --ask-key or RSTORE_KEY" in printed


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

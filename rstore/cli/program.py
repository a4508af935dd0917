"""The program: its commands, and the exit code and message of each error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import typer

from rstore.cli import deliver, plot, read, retain, serve, sql, streams, tag, transfer, write
from rstore.cli.advice import translated
from rstore.cli.command import options_before
from rstore.cli.exit_codes import EXIT_CODES, INTERRUPTED, NEGATIVE, OK, PIPE, STORE, USAGE, CommandError
from rstore.domain.errors import StoreError
from rstore.text.values import show_text

_HELP: Final = """Key/value pairs, time series and event sequences that remember their past.

Reading a value unpickles it, which can run code that its writer chose: open only stores that you trust, or use
--serializer json.

Example: RSTORE_DSN=app.db rstore log
"""
_BLOCK: Final = "\b\n"
"""The mark before lines of help that are not to be joined."""


def run(words: Sequence[str]) -> int:
    """Run the command on its arguments, print an error in one line, and return the exit code.

    When it returns, all output is written: a failure to write it is an error of the command.
    """
    streams.replace_closed()
    code, message = _outcome(words)
    if message:
        streams.print_error(f"rstore: {show_text(' '.join(translated(message).split()))}")
    streams.flush()
    return code


def _outcome(words: Sequence[str]) -> tuple[int, str]:
    """Return the exit code, and the message of an error."""
    try:
        code = program(words)(list(words), prog_name="rstore", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED, ""
    except BrokenPipeError:
        return PIPE, ""
    except SystemExit as exc:  # typer ends so after shell completion, and when a pipe was closed while it printed help
        if isinstance(exc.__context__, BrokenPipeError):
            streams.discard(sys.stdout)
            return PIPE, ""
        return int(exc.code or OK), ""
    except Exception as exc:  # our own bugs print one line, too: --debug shows where they come from
        message, code = _ending(exc)
        return code, message
    return code or OK, ""


def program(words: Sequence[str] = ()) -> typer.Typer:
    """Return the program with all its commands, or with the only one that *words* begin with.

    At each start, typer inspects every parameter of each command, which takes longer than most commands.
    """
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    app = typer.Typer(
        help=_HELP,
        epilog=f"{_BLOCK}Exit codes:\n{codes}",
        rich_markup_mode="rich" if sys.stdout.isatty() else None,  # boxes are for people
        pretty_exceptions_enable=False,
    )
    options_before(app)
    commands = [
        each
        for group in (read, sql, plot, serve, tag, deliver, write, retain, transfer)
        for each in group.app.registered_commands
    ]
    app.registered_commands = [each for each in commands if [each.name] == list(words[:1])] or commands
    return app


def _ending(exc: Exception) -> tuple[str, int]:
    """Return the message of an error for the user, and the exit code."""
    if isinstance(exc, CommandError):
        return str(exc), exc.code
    return next((message(exc), code) for kinds, message, code in _ENDINGS if isinstance(exc, kinds))


def _usage_message(exc: Any) -> str:
    return f"{exc.format_message()} (rstore COMMAND --help shows how)"


def _system_message(exc: Any) -> str:
    if exc.filename:
        return f"{exc.strerror or exc}: {exc.filename}"
    return f"the output could not be written: {exc.strerror or exc}; see `rstore log` for what is stored"


_ENDINGS: Final[Sequence[tuple[tuple[type[Exception], ...], Callable[[Any], str], int]]] = (
    ((typer.Abort,), lambda _: "nothing was done", NEGATIVE),
    ((typer.TyperException,), _usage_message, USAGE),
    ((StoreError,), str, STORE),
    ((TypeError, ValueError, OverflowError), str, USAGE),
    ((OSError,), _system_message, STORE),
    ((Exception,), lambda exc: f"{type(exc).__name__}: {exc} (--debug shows where)", STORE),
)
"""Kinds of errors, the message of each, and its exit code. The first row that matches counts."""

"""What all commands share: the store that the options name, the output, and how errors end a command."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from functools import wraps
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from attrs import frozen, has

from rstore.cli import streams
from rstore.cli.exit_codes import PIPE, USAGE, CommandError
from rstore.cli.options import flag, option, parameters_of, taken_from
from rstore.cli.output import Output
from rstore.cli.target import Target
from rstore.cli.times import parse_recorded, parse_time
from rstore.core import now, reading_of
from rstore.store import Store
from rstore.tags import tagged_moment
from rstore.view import View

READ, PLOT, WRITE, TRANSFER = "Read", "Plot", "Write", "Transfer and maintain"
"""The groups of commands in ``rstore --help``."""

_PANEL: Final = "Options"
_AT_HELP: Final = "Show what was known then: '2026-11-01 09:00', '3 days ago', POSIX ms, a tag."


@frozen
class Session:
    """One run of a command: its store, the view of it that ``--at`` asks for, and its output."""

    out: Output
    target: Target
    _store: Store | None = None
    _view: Store | View | None = None

    @property
    def store(self) -> Store:
        """The store. It is open, unless the command opens it."""
        if self._store is None:
            raise AssertionError("the command was declared without a store")
        return self._store

    @property
    def view(self) -> Store | View:
        """The store as it was known at the time of ``--at``; without ``--at`` the store itself."""
        return self.store if self._view is None else self._view


def named_time(parse: Callable[[str, int], int], text: str, view: Store | View) -> int:
    """Return a time that the user typed, or the moment of the tag that it names, in POSIX milliseconds."""
    try:
        return parse(text, now())
    except ValueError as error:
        return tagged_moment(reading_of(view), text, error)


def valid_time(text: str | None) -> int | None:
    """Return a valid time that the user typed, in POSIX milliseconds."""
    return None if text is None else parse_time(text, now())


def transaction_time(text: str | None, view: Store | View) -> int | None:
    """Return a transaction time that the user typed, or that of a tag, in POSIX milliseconds."""
    return None if text is None else named_time(parse_recorded, text, view)


@frozen
class ReadOptions:
    """The options of commands that also read the past."""

    at: str | None = option("--at", help=_AT_HELP, panel=_PANEL)


@frozen
class WriteOptions:
    """The options of commands that write."""

    who: str | None = option("--who", help="Who changes it [RSTORE_WHO].", panel=_PANEL)
    why: str | None = option("--why", help="Why it is changed.", panel=_PANEL)
    plain: bool = flag("--plain", help="Without a key, write in clear even beside encrypted values.", panel=_PANEL)
    other_key: bool = flag("--other-key", help="Write with a key that is new here, and keep the others.", panel=_PANEL)


class Access(Enum):
    """How a command uses its store."""

    READ = "it is frozen"
    CHANGE = "it has to be there"
    CREATE = "it is created if there is none"
    IMPORT = "it is created if there is none, but not before the command has checked its input"
    NONE = "the command itself opens its stores"


_WRITING: Final = (Access.CHANGE, Access.CREATE, Access.IMPORT)
_CONTEXT: Final = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def command(
    app: typer.Typer, panel: str, name: str | None = None, *, access: Access = Access.READ, at: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function. Its first parameter is the :class:`Session`; the user types the others.

    A parameter of a frozen attrs class stands for the options that are fields of this class.

    Args:
        access: how the command uses its store. A command that writes takes the :class:`WriteOptions`.
        at: whether the command takes ``--at``, and reads from ``session.view``.
    """
    shared: list[Any] = [ReadOptions] * at + [WriteOptions] * (access in _WRITING) + [Target]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        groups = {each.name: each.annotation for each in own if has(each.annotation)}
        parameters = [_CONTEXT]
        for each in own:
            parameters += parameters_of(groups[each.name]) if each.name in groups else [each]
        for options in shared:
            parameters += parameters_of(options)

        @wraps(function)
        def run(ctx: typer.Context, **given: Any) -> None:
            grouped = {name: taken_from(given, options) for name, options in groups.items()}
            target = taken_from(given, Target).over(ctx.obj or Target())
            reading = taken_from(given, ReadOptions) if at else ReadOptions()
            writing = taken_from(given, WriteOptions) if access in _WRITING else WriteOptions()
            with _error_handling(target), ExitStack() as stack:
                session = _session(stack, target, access, reading, writing)
                function(session, **given, **grouped)
                session.out.flush()

        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what typer reads
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        )
        app.command(name or function.__name__, rich_help_panel=panel)(run)
        return function

    return decorate


def _session(stack: ExitStack, target: Target, access: Access, reading: ReadOptions, writing: WriteOptions) -> Session:
    """Return a session whose store is open as long as the stack."""
    out = Output(target.json)
    if access is Access.NONE:
        return Session(out, target)
    if access is Access.READ:
        store = stack.enter_context(target.store(frozen=True))
        moment = transaction_time(reading.at, store)
        return Session(out, target, store, None if moment is None else store.at(moment))
    if access is Access.CHANGE:
        target = target.with_keys()
        target.store(frozen=True).open().close()  # a misspelt name is an error, not a new store
    store = target.store(frozen=False, plain=writing.plain, other_key=writing.other_key)
    if access is not Access.IMPORT:
        stack.enter_context(store)
    stack.enter_context(store.context(writing.who or os.environ.get("RSTORE_WHO"), writing.why))
    return Session(out, target, store)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"rstore {version('rlib-store')}")
        raise typer.Exit


_VERSION: Final = inspect.Parameter(
    "version",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version, and end.")
    ],
)


def options_before(app: typer.Typer) -> None:
    """Let the options of :class:`Target` stand before the name of a command, and show the help if there is no name."""

    def remember(ctx: typer.Context, version: bool, **given: Any) -> None:  # noqa: ARG001  # its callback has run
        ctx.obj = Target(**given)
        if ctx.invoked_subcommand is None:
            if text := ctx.get_help():  # on a terminal typer has printed it already, in boxes
                print(text)
            raise typer.Exit(USAGE)

    remember.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_CONTEXT, _VERSION, *parameters_of(Target)]
    )
    app.callback(invoke_without_command=True)(remember)


@contextmanager
def _error_handling(target: Target) -> Iterator[None]:
    """Print the traceback of an error if the user asked for it, and end silently when the reader has gone away."""
    try:
        yield
    except BrokenPipeError:
        streams.discard(sys.stdout)
        raise CommandError("", PIPE) from None
    except (CommandError, typer.Exit):
        raise
    except Exception:
        if target.debug or os.environ.get("RSTORE_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        raise

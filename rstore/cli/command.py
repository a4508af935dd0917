"""What all commands have in common: options that say which store, the store itself, and where to print to."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import Enum
from functools import wraps
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from attrs import frozen

from rstore.cli import streams
from rstore.cli.exit_codes import PIPE, USAGE, Refusal
from rstore.cli.output import Output
from rstore.cli.target import SERIALIZERS, Place
from rstore.cli.times import parse_recorded, parse_time
from rstore.core import now
from rstore.store import Store
from rstore.view import View

LOOK, DRAW, CHANGE, MOVE = "Look", "Draw", "Change", "Move and care"


@frozen
class Session:
    """A command at work: its store, that store as it is read (``--at`` a time), its output, and what was said."""

    out: Output
    place: Place
    _store: Store | None = None
    _view: Store | View | None = None

    @property
    def store(self) -> Store:
        """The store, which is open unless the command opens it."""
        if self._store is None:
            raise AssertionError("the command was declared without a store")
        return self._store

    @property
    def view(self) -> Store | View:
        """The store as it was known at the time that was asked for; the store itself if none was."""
        return self.store if self._view is None else self._view


def when(text: str | None) -> int | None:
    """Return a valid time that was typed, in POSIX milliseconds."""
    return None if text is None else parse_time(text, now())


def when_stored(text: str | None) -> int | None:
    """Return a transaction time that was typed, in POSIX milliseconds."""
    return None if text is None else parse_recorded(text, now())


def _option(*names: str, help: str, panel: str = "Which store") -> Any:  # noqa: A002  # it is typer's name for it
    return typer.Option(*names, help=help, rich_help_panel=panel)


_PLACE: Final[Mapping[str, Any]] = {
    "dsn": Annotated[
        str | None,
        _option(
            "--dsn",
            "-d",
            help="A SQLite file, postgresql://..., redis://..., ... [RSTORE_DSN, which `ps` does not show]",
        ),
    ],
    "namespace": Annotated[str | None, _option("--namespace", help="[RSTORE_NAMESPACE, else 'default']")],
    "key_file": Annotated[
        str | None,
        _option(
            "--key-file",
            help="A file of keys, one a line: the first encrypts, all decrypt [RSTORE_KEY, with , between]",
        ),
    ],
    "ask_key": Annotated[bool, _option("--ask-key", help="Ask for the key.")],
    "plaintext": Annotated[bool, _option("--plaintext", help="With a key, read also what is not encrypted.")],
    "serializer": Annotated[
        str | None, _option("--serializer", help=f"{', '.join(SERIALIZERS)} [RSTORE_SERIALIZER, else pickle]")
    ],
    "json": Annotated[bool, _option("--json", help="Print one JSON object a line.", panel="Options")],
    "debug": Annotated[
        bool, _option("--debug", help="Show where an error comes from [RSTORE_DEBUG=1].", panel="Options")
    ],
}
"""The options that may stand before the name of a command, and after it."""

_AT: Final = Annotated[
    str | None,
    _option("--at", help="Show what was known then: '2026-11-01 09:00', '3 days ago', POSIX ms.", panel="Options"),
]
_WHO: Final = Annotated[str | None, _option("--who", help="Who changes it [RSTORE_WHO].", panel="Options")]
_WHY: Final = Annotated[str | None, _option("--why", help="Why it is changed.", panel="Options")]

_PLAIN: Final = Annotated[
    bool, _option("--plain", help="Without a key, write in clear also beside encrypted values.", panel="Options")
]
_OTHER_KEY: Final = Annotated[
    bool, _option("--other-key", help="Write with a key that is new here, and leave the others.", panel="Options")
]


def _parameters(options: Mapping[str, Any]) -> list[inspect.Parameter]:
    keyword, no = inspect.Parameter.KEYWORD_ONLY, False
    return [
        inspect.Parameter(name, keyword, default=no if annotation.__origin__ is bool else None, annotation=annotation)
        for name, annotation in options.items()
    ]


_OF_WRITING: Final[Mapping[str, Any]] = {"who": _WHO, "why": _WHY, "plain": _PLAIN, "other_key": _OTHER_KEY}

_CONTEXT: Final = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)


class Access(Enum):
    """What a command does with its store."""

    READ = "it is frozen"
    CHANGE = "it has to be there"
    CREATE = "it is made if there is none"
    IMPORT = "it is made if there is none, and only when the command has looked at the rest"
    NONE = "the command opens what it needs itself"


def command(
    app: typer.Typer, panel: str, name: str | None = None, *, access: Access = Access.READ, at: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function: its first parameter is the :class:`Session`, the others are what users type.

    Args:
        access: what it does with its store. What writes takes ``--who``, ``--why``, ``--plain`` and ``--other-key``.
        at: it takes ``--at``, and reads from ``session.view``.
    """
    writes = access in (Access.CHANGE, Access.CREATE, Access.IMPORT)
    own = {**({"at": _AT} if at else {}), **(_OF_WRITING if writes else {})}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(ctx: typer.Context, **given: Any) -> None:
            late = Place(**{name: given.pop(name) for name in _PLACE})
            said = {name: given.pop(name) for name in own}
            place = late.over(ctx.obj or Place())
            with _told_apart(place), ExitStack() as stack:
                session = _session(stack, place, access, **said)
                function(session, **given)
                session.out.flush()

        shown = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        parameters = [_CONTEXT, *shown, *_parameters({**own, **_PLACE})]
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what typer reads
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        )
        app.command(name or function.__name__, rich_help_panel=panel)(run)
        return function

    return decorate


def _session(
    stack: ExitStack,
    place: Place,
    access: Access,
    at: str | None = None,
    who: str | None = None,
    why: str | None = None,
    plain: bool = False,
    other_key: bool = False,
) -> Session:
    """Return a session whose store is open as long as the stack."""
    out, moment = Output(place.json), when_stored(at)
    if access is Access.NONE:
        return Session(out, place)
    if access is Access.READ:
        store = stack.enter_context(place.store(frozen=True))
        return Session(out, place, store, None if moment is None else store.at(moment))
    if access is Access.CHANGE:
        place = place.with_keys()
        place.store(frozen=True).open().close()  # a misspelt name is an error, not a new store
    store = place.store(frozen=False, plain=plain, other_key=other_key)
    if access is not Access.IMPORT:
        stack.enter_context(store)
    stack.enter_context(store.context(who or os.environ.get("RSTORE_WHO"), why))
    return Session(out, place, store)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"rstore {version('rlib-store')}")
        raise typer.Exit


_VERSION: Final = {
    "version": Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version, and end.")
    ]
}


def options_before(app: typer.Typer) -> None:
    """Let the options that say which store stand before the name of the command too, and show the help without one."""

    def remember(ctx: typer.Context, version: bool, **given: Any) -> None:  # noqa: ARG001  # it was looked at before
        ctx.obj = Place(**given)
        if ctx.invoked_subcommand is None:
            if text := ctx.get_help():  # on a terminal it is printed already, in boxes
                print(text)
            raise typer.Exit(USAGE)

    remember.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_CONTEXT.replace(kind=inspect.Parameter.KEYWORD_ONLY), *_parameters({**_VERSION, **_PLACE})]
    )
    app.callback(invoke_without_command=True)(remember)


@contextmanager
def _told_apart(place: Place) -> Iterator[None]:
    """Show where an error comes from if that was asked for, and end in silence when nobody reads any more."""
    try:
        yield
    except BrokenPipeError:
        streams.discard(sys.stdout)
        raise Refusal("", PIPE) from None
    except (Refusal, typer.Exit):
        raise
    except Exception:
        if place.debug or os.environ.get("RSTORE_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        raise


def check_usage(told: bool, message: str) -> None:
    """Raise a refusal that says how the command has to be written, unless it was."""
    if not told:
        raise Refusal(message, USAGE)

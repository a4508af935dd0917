"""Commands that change what is stored. None of them but prune, compact and discard erases anything."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Annotated, Any

import typer

from rstore.cli.changes import parse_changes
from rstore.cli.command import CHANGE, Access, Session, check_usage, command, when, when_stored
from rstore.cli.exit_codes import Refusal
from rstore.cli.output import COUNT, Column
from rstore.cli.progress import reported
from rstore.cli.reading import Key, Kind, bounds, check_kind, show_state, stamp, the_kind, unit_of, when_of
from rstore.cli.units import MILLISECONDS
from rstore.cli.values import parse_value
from rstore.core import now
from rstore.domain.log import Reclaimed
from rstore.domain.streams import ES, TS

app = typer.Typer()

Keys = Annotated[list[str], typer.Argument(help="The keys.", show_default=False)]
Text = Annotated[bool, typer.Option("--text", help="Values are text, also if they read as JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Erase nothing, and show how much would go.")]
Before = Annotated[str | None, typer.Option("--before", help="Keep what --at needs from this time on.")]


@command(app, CHANGE, "set", access=Access.CREATE)
def set_(
    session: Session,
    key: Key,
    value: Annotated[str, typer.Argument(help="JSON; what is none is text.", show_default=False)],
    text: Text = False,
) -> None:
    """Store a value: JSON, or text.

    A value that begins with - comes after --: rstore set balance -- -5

    Example: rstore set price '{"amount": 12, "currency": "EUR"}' --who ada --why 'ticket 42'
    """
    session.store.set(key, _value(text)(value))


@command(app, CHANGE, access=Access.CHANGE)
def delete(session: Session, keys: Keys, kind: Kind = None) -> None:
    """Delete values, or with --kind es event sequences, all of them or none. What they were stays in the log.

    Example: rstore delete price discount
    """
    check_usage(check_kind(kind) != TS, "the points of a series are deleted by remove")
    store, is_es = session.store, kind == ES
    unknown = [key for key in keys if (store.current(key) is None if is_es else not store.has(key))]
    if unknown:
        what = "event sequence" if is_es else "value"
        raise Refusal(f"there is no {what} {', '.join(map(repr, unknown))}: nothing was deleted")
    store.transact(lambda inside: (inside.delete_events if is_es else inside.delete)(*keys))


@command(app, CHANGE, access=Access.CREATE)
def apply(
    session: Session,
    key: Key,
    changes: Annotated[list[str], typer.Argument(help="item=value, item+=1, ~item, ...", show_default=False)],
    time: Annotated[str | None, typer.Option("--time", "-t", help="When it happened, if not now.")] = None,
    text: Text = False,
) -> None:
    """Change items of an event sequence, all of them or none, and show its state.

    item=value sets an item, ~item deletes it (write '~item', or the shell looks for a home). += -= *= /= //= %= **=
    &= |= ^= <<= >>= compute with what it is, as in Python. item:mul=2 and item:neg name any operator.

    Example: rstore apply account owner=Ada balance+=5 '~typo' --time 'yesterday 09:00'
    """
    session.store.apply(key, parse_changes(changes, _value(text)), when(time))
    show_state(session, key, session.store.current(key, withtimestamp=True))


@command(app, CHANGE, access=Access.CREATE)
def extend(
    session: Session,
    key: Key,
    points: Annotated[list[str] | None, typer.Argument(help="TIME=VALUE ...; without: from standard input.")] = None,
    text: Text = False,
) -> None:
    """Add points to a time series, or replace those of the same times, all of them or none.

    Without points, they are read from standard input, one a line: TIME, a space or tab, VALUE (with a tab, TIME may
    hold spaces). A TIME is an int as it is; others, such as 2026-11-01T09:00, are stored in the unit of the series, and
    in milliseconds if it is new.

    Example: rstore extend temperature now=20.5
    """
    last = session.store.last(key)
    base, unit = (now(), MILLISECONDS) if last is None else (last[0], unit_of(session.store, key, last[0]))
    value = _value(text)
    pairs = _typed(points) if points else _piped()
    session.store.extend(key, ((stamp(time, key, base, unit), value(rest)) for time, rest in pairs))


@command(app, CHANGE, access=Access.CHANGE)
def remove(
    session: Session,
    key: Key,
    start: Annotated[str | None, typer.Option("--start", help="The first time that goes.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="The last time that goes.")] = None,
) -> None:
    """Remove the points of a time series, or those of a span of time. What they were stays in the log.

    Example: rstore remove temperature --start 2026-11-01 --end '2026-11-02 12:00'
    """
    _, low, high = bounds(session.store, key, start, end)
    session.store.remove(key, start=low, end=high)


@command(app, CHANGE, access=Access.CHANGE)
def revert(
    session: Session,
    key: Key,
    time: Annotated[str, typer.Argument(help="When: yesterday.", show_default=False)],
    kind: Kind = None,
) -> None:
    """Bring a key back to what it was at a time, by new changes: nothing is erased.

    Example: rstore revert account yesterday --who eve --why 'the import was wrong'
    """
    chosen = the_kind(session.store, key, kind)
    session.store.revert(key, when_of(chosen, time), chosen)


@command(app, CHANGE, access=Access.CHANGE)
def prune(
    session: Session,
    keys: Annotated[list[str] | None, typer.Argument(help="The keys; without: all, after asking.")] = None,
    before: Before = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Erase events that do not contribute to the current state of their sequence.

    The log shows what kind of records went, how many, and who erased them and why.

    Example: rstore prune account --before '1 year ago' --who ada --why 'ticket 42'
    """
    known = session.store.eventsources()
    unknown = [key for key in sorted(set(keys or ())) if not session.store.version(key)]  # a deleted one is known
    if unknown:
        raise Refusal(f"there is no event sequence {', '.join(map(repr, unknown))}: nothing was erased")
    erase = partial(session.store.prune, *(keys or known), before=when_stored(before))
    _erase(session, erase, dry_run=dry_run, asks=not (keys or yes))


@command(app, CHANGE, access=Access.CHANGE)
def compact(session: Session, before: Before = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Erase what no read of the present needs, and give the space back; without --before, after asking.

    The log shows what kind of records went, how many, and who erased them and why.

    Example: rstore compact --before '30 days ago' --who ada --why 'ticket 42'
    """
    moment = when_stored(before)
    erase = partial(session.store.compact, moment)
    _erase(session, erase, dry_run=dry_run, asks=moment is None and not yes)


def _erase(session: Session, erase: Callable[..., Reclaimed], *, dry_run: bool, asks: bool) -> None:
    """Erase, after asking where that is due; or show only how much that would be."""
    if asks and not dry_run:
        _check_asked()
        goes = erase(dry_run=True)
        if any(goes):
            what = f"{goes.records:,} records ({goes.bytes:,} bytes)"
            _ask(f"Erase {what} of the history of {session.store!r} for ever?")
    saved = erase(dry_run=dry_run)
    session.out.rows([Column("records", COUNT), Column("bytes", COUNT)], [saved])
    if dry_run:
        session.out.note("nothing was erased: that is what would go without --dry-run")


@command(app, CHANGE, access=Access.CHANGE)
def discard(session: Session, yes: Yes = False) -> None:
    """Erase the namespace with all that is in it, after asking.

    Example: rstore discard --namespace scratch --yes
    """
    if not yes:
        _check_asked()
        _ask(f"Erase all of {session.store!r} for ever?")
    session.store.discard()


def _check_asked() -> None:
    check_usage(sys.stdin.isatty(), "nobody is there to be asked: say --yes")


def _ask(question: str) -> None:
    if not typer.confirm(question, err=True):
        raise Refusal("nothing was erased")


@command(app, CHANGE, access=Access.CHANGE)
def rekey(session: Session) -> None:
    """Encrypt with the first key all that is not, and show how many records that were.

    Example: rstore rekey --key-file keys   (the new key in its first line, the old one in the second)
    """
    with reported("records") as told:
        count = session.store.rekey(told)
    session.out.rows([Column("records", COUNT)], [(count,)])


@command(app, CHANGE, access=Access.CREATE)
def protect(session: Session) -> None:
    """Let the namespace take no values in clear from now on: whoever writes needs the key.

    What is there in clear stays: rekey --plaintext encrypts it. A copy or an import does not take this along.

    Example: rstore protect --key-file app.key
    """
    session.store.protect()


@command(app, CHANGE, access=Access.CHANGE)
def unprotect(session: Session) -> None:
    """Let the namespace take values in clear again: what protect has done is undone.

    Example: rstore unprotect --key-file app.key
    """
    session.store.unprotect()


def _value(text: bool) -> Callable[[str], Any]:
    return str if text else parse_value


def _typed(points: Iterable[str]) -> Iterator[tuple[str, str]]:
    for point in points:
        time, is_there, value = point.partition("=")
        check_usage(bool(is_there), f"{point!r} is no point: write TIME=VALUE")
        yield time, value


def _piped() -> Iterator[tuple[str, str]]:
    check_usage(not sys.stdin.isatty(), "there are no points: write TIME=VALUE ..., or pipe lines of TIME VALUE in")
    for number, line in enumerate(sys.stdin, 1):
        point = line.rstrip("\r\n")
        time, _, value = point.partition("\t" if "\t" in point else " ")
        check_usage(bool(time and value), f"line {number} is no point: write TIME, a tab, VALUE; nothing was stored")
        yield time, value

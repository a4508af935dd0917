"""Commands that write. Only prune, compact and discard erase anything."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Annotated, Any

import typer

from rstore.cli.command import WRITE, Access, Session, command, transaction_time, valid_time
from rstore.cli.exit_codes import CommandError, check_usage
from rstore.cli.output import COUNT, Column
from rstore.cli.progress import reported
from rstore.cli.reading import Key, Kind, bounds, check_kind, kind_of, show_state, time_of, timestamp_of, unit_of
from rstore.core import now, reading_of
from rstore.domain.log import Reclaimed
from rstore.domain.streams import ES, TS
from rstore.models.event_states import is_live
from rstore.text.changes import parse_changes
from rstore.text.units import MILLISECONDS
from rstore.text.values import parse_value

app = typer.Typer()

Keys = Annotated[list[str], typer.Argument(help="The keys.", show_default=False)]
Text = Annotated[bool, typer.Option("--text", help="Take values as text, even if they are JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Erase nothing, and show how much would be erased.")]
Before = Annotated[str | None, typer.Option("--before", help="Keep what --at needs from this time on.")]


@command(app, WRITE, "set", access=Access.CREATE)
def set_(
    session: Session,
    key: Key,
    value: Annotated[str, typer.Argument(help="JSON, or else text.", show_default=False)],
    text: Text = False,
    ttl: Annotated[float | None, typer.Option("--ttl", help="The value ends after so many seconds.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="The value ends at this time.")] = None,
) -> None:
    """Store a value: JSON, or text. With an end, no command finds it from then on.

    A value that begins with - comes after --: rstore set balance -- -5

    Example: rstore set price '{"amount": 12, "currency": "EUR"}' --who ada --why 'ticket 42'
    """
    session.store.set(key, _value(text)(value), ttl=ttl, until=transaction_time(until, session.store))


@command(app, WRITE, access=Access.CHANGE)
def delete(session: Session, keys: Keys, kind: Kind = None) -> None:
    """Delete values, or with --kind es event sequences: all of them or none. Their history stays in the log.

    Example: rstore delete price discount
    """
    check_usage(check_kind(kind) != TS, "delete takes no series: remove deletes its points")
    store, is_es = session.store, kind == ES
    unknown = [key for key in keys if not (is_live(reading_of(store), key) if is_es else store.has(key))]
    if unknown:
        noun = "event sequence" if is_es else "value"
        raise CommandError(f"there is no {noun} {', '.join(map(repr, unknown))}: nothing was deleted")
    store.transact(lambda inside: (inside.delete_events if is_es else inside.delete)(*keys))


@command(app, WRITE, access=Access.CREATE)
def apply(
    session: Session,
    key: Key,
    changes: Annotated[list[str], typer.Argument(help="item=value, item+=1, ~item, ...", show_default=False)],
    time: Annotated[str | None, typer.Option("--time", "-t", help="When it happened, if not now.")] = None,
    text: Text = False,
) -> None:
    """Change items of an event sequence, all of them or none, and show its new state.

    item=value sets an item. ~item deletes it (write '~item', or the shell looks for a home). += -= *= /= //= %= **=
    &= |= ^= <<= >>= compute with its value, as in Python. item:mul=2 and item:neg name any operator.

    Example: rstore apply account owner=Ada balance+=5 '~typo' --time 'yesterday 09:00'
    """
    session.store.apply(key, parse_changes(changes, _value(text)), valid_time(time))
    show_state(session, key, session.store.current(key, withtimestamp=True))


@command(app, WRITE, access=Access.CREATE)
def extend(
    session: Session,
    key: Key,
    points: Annotated[
        list[str] | None, typer.Argument(help="TIME=VALUE ...; without them, standard input is read.")
    ] = None,
    text: Text = False,
) -> None:
    """Add points to a time series, or replace the points at the same times: all of them or none.

    Without points, the command reads them from standard input, one a line: TIME, a space or tab, VALUE (with a tab,
    TIME may contain spaces). An int is stored as it is. Other times, such as 2026-11-01T09:00, are stored in the unit
    of the series, and in milliseconds if the series is new.

    Example: rstore extend temperature now=20.5
    """
    last = session.store.last(key)
    base, unit = (now(), MILLISECONDS) if last is None else (last[0], unit_of(session.store, key, last[0]))
    value = _value(text)
    pairs = _split(points) if points else _read_lines()
    session.store.extend(key, ((timestamp_of(time, key, base, unit), value(rest)) for time, rest in pairs))


@command(app, WRITE, access=Access.CHANGE)
def remove(
    session: Session,
    key: Key,
    start: Annotated[str | None, typer.Option("--start", help="The first time to remove.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="The last time to remove.")] = None,
) -> None:
    """Remove the points of a time series, or of a span of it. Their history stays in the log.

    Example: rstore remove temperature --start 2026-11-01 --end '2026-11-02 12:00'
    """
    _, low, high = bounds(session.store, key, start, end)
    session.store.remove(key, start=low, end=high)


@command(app, WRITE, access=Access.CHANGE)
def revert(
    session: Session,
    key: Key,
    time: Annotated[str, typer.Argument(help="The time: yesterday.", show_default=False)],
    kind: Kind = None,
) -> None:
    """Restore the state that a key had at a time, by new changes: nothing is erased.

    Example: rstore revert account yesterday --who eve --why 'the import was wrong'
    """
    chosen = kind_of(session.store, key, kind)
    session.store.revert(key, time_of(session.store, chosen, time), chosen)


@command(app, WRITE, access=Access.CHANGE)
def prune(
    session: Session,
    keys: Annotated[list[str] | None, typer.Argument(help="The keys; without them all, after asking.")] = None,
    before: Before = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Erase events that do not contribute to the current state of their sequence.

    The log shows how many records were erased, of which kinds, by whom and why.

    Example: rstore prune account --before '1 year ago' --who ada --why 'ticket 42'
    """
    known = session.store.eventsources()
    unknown = [key for key in sorted(set(keys or ())) if not session.store.version(key)]  # a deleted one is known
    if unknown:
        raise CommandError(f"there is no event sequence {', '.join(map(repr, unknown))}: nothing was erased")
    erase = partial(session.store.prune, *(keys or known), before=transaction_time(before, session.store))
    _erase(session, erase, dry_run=dry_run, asks=not (keys or yes))


@command(app, WRITE, access=Access.CHANGE)
def compact(session: Session, before: Before = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Erase records that no read of the present needs, and free their space; without --before, after asking.

    The log shows how many records were erased, of which kinds, by whom and why.

    Example: rstore compact --before '30 days ago' --who ada --why 'ticket 42'
    """
    moment = transaction_time(before, session.store)
    erase = partial(session.store.compact, moment)
    _erase(session, erase, dry_run=dry_run, asks=moment is None and not yes)


def _erase(session: Session, erase: Callable[..., Reclaimed], *, dry_run: bool, asks: bool) -> None:
    """Erase, after asking if ``asks``; or only show how much would be erased."""
    if asks and not dry_run:
        _check_interactive()
        expected = erase(dry_run=True)
        if any(expected):
            amount = f"{expected.records:,} records ({expected.bytes:,} bytes)"
            _confirm(f"Erase {amount} of the history of {session.store!r} for ever?")
    session.out.rows([Column("records", COUNT), Column("bytes", COUNT)], [erase(dry_run=dry_run)])
    if dry_run:
        session.out.note("nothing was erased: this is what would be erased without --dry-run")


@command(app, WRITE, access=Access.CHANGE)
def discard(session: Session, yes: Yes = False) -> None:
    """Erase the namespace with everything in it, after asking.

    Example: rstore discard --namespace scratch --yes
    """
    if not yes:
        _check_interactive()
        _confirm(f"Erase all of {session.store!r} for ever?")
    session.store.discard()


def _check_interactive() -> None:
    check_usage(sys.stdin.isatty(), "there is no terminal to ask on: say --yes")


def _confirm(question: str) -> None:
    if not typer.confirm(question, err=True):
        raise CommandError("nothing was erased")


@command(app, WRITE, access=Access.CHANGE)
def rekey(session: Session) -> None:
    """Encrypt everything with the first key, and show how many records had another key or none.

    Example: rstore rekey --key-file keys   (the new key in its first line, the old one in the second)
    """
    with reported("records") as report:
        session.out.rows([Column("records", COUNT)], [(session.store.rekey(report),)])


@command(app, WRITE, access=Access.CREATE)
def protect(session: Session) -> None:
    """Refuse values in clear in this namespace from now on: every writer needs the key.

    Values already in clear stay: rekey --plaintext encrypts them. A copy or an export does not include this rule.

    Example: rstore protect --key-file app.key
    """
    session.store.protect()


@command(app, WRITE, access=Access.CHANGE)
def unprotect(session: Session) -> None:
    """Allow values in clear in this namespace again: this undoes protect.

    Example: rstore unprotect --key-file app.key
    """
    session.store.unprotect()


def _value(text: bool) -> Callable[[str], Any]:
    return str if text else parse_value


def _split(points: Iterable[str]) -> Iterator[tuple[str, str]]:
    for point in points:
        time, is_there, value = point.partition("=")
        check_usage(bool(is_there), f"{point!r} is no point: write TIME=VALUE")
        yield time, value


def _read_lines() -> Iterator[tuple[str, str]]:
    check_usage(not sys.stdin.isatty(), "there are no points: write TIME=VALUE ..., or pipe lines of TIME VALUE in")
    for number, line in enumerate(sys.stdin, 1):
        point = line.rstrip("\r\n")
        time, _, value = point.partition("\t" if "\t" in point else " ")
        check_usage(bool(time and value), f"line {number} is no point: write TIME, a tab, VALUE; nothing was stored")
        yield time, value

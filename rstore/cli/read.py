"""Commands that look into a store and change nothing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from attrs import asdict

from rstore.cli.command import LOOK, Session, check_usage, command, when, when_stored
from rstore.cli.describe import CHANGE_COLUMNS, OPERAND, STAMP, Operand, change_row, stamps, tell_of
from rstore.cli.exit_codes import Refusal
from rstore.cli.output import MOMENT, TEXT, VALUE, Column, Output
from rstore.cli.progress import reported
from rstore.cli.reading import (
    KINDS,
    End,
    Key,
    Kind,
    Prefix,
    Start,
    bin_length,
    bounds,
    check_kind,
    keys_of,
    show_state,
    the_kind,
    unknown,
    when_of,
)
from rstore.cli.times import parse_time, show_time
from rstore.cli.values import show_text, show_value, to_json
from rstore.core import now
from rstore.domain.operators import OPERATORS, name_of
from rstore.domain.resampling import FILLS, HOWS
from rstore.domain.streams import ES, KV, TS
from rstore.history.changes import Change

if TYPE_CHECKING:
    from rstore.admin.check import Info

app = typer.Typer()

_NEWEST: Final = 20


@command(app, LOOK)
def info(session: Session) -> None:
    """Show what is in a store: keys, records, bytes, from when to when, and how much of it is encrypted.

    No key is needed for that.

    Example: rstore info --dsn app.db
    """
    from rstore.admin.check import info as look

    with reported("records") as told:
        found = look(session.store, told)
    if session.out.json:
        session.out.json_line(asdict(found))
        return
    session.out.rows([Column("what", TEXT, "dim"), Column("value")], _info_rows(found, session.out))


@command(app, LOOK, at=True)
def keys(
    session: Session,
    pattern: Annotated[str | None, typer.Argument(help="As in fnmatch: 'user:*'.")] = None,
    kind: Kind = None,
    prefix: Prefix = None,
) -> None:
    """List the keys: of values (kv), time series (ts) and event sequences (es).

    Example: rstore keys 'user:*' --kind kv
    """
    check_kind(kind)
    found = ((each, key) for each in KINDS if kind in (None, each) for key in keys_of(session.view, each, prefix or ""))
    session.out.rows([Column("kind", TEXT, "dim"), Column("key", TEXT, "yellow")], _matching(found, pattern))


@command(app, LOOK, at=True)
def get(
    session: Session, key: Key, text: Annotated[bool, typer.Option("--text", help="Print text as it is.")] = False
) -> None:
    """Show the value of a key.

    What is printed is what `rstore set` takes: JSON, or text that is none.

    Example: rstore get price --at '3 days ago'
    """
    found = session.view.get_many([key])
    if key not in found:
        raise Refusal(unknown(session.view, key, KV))
    value = found[key]
    if text:
        check_usage(isinstance(value, str), f"the value of {key!r} is no text but {type(value).__name__}: drop --text")
        session.out.line(value)
    elif session.out.json:
        session.out.json_line({"key": key, "value": to_json(value)})
    else:
        session.out.line(show_value(value))


@command(app, LOOK, at=True)
def current(session: Session, key: Key) -> None:
    """Show the current state of an event sequence.

    Example: rstore current account --at yesterday
    """
    show_state(session, key, session.view.current(key, withtimestamp=True))


@command(app, LOOK, at=True)
def past(session: Session, key: Key, time: Annotated[str, typer.Argument(help="When: '2026-11-01 09:00'.")]) -> None:
    """Show the state of an event sequence as it was at a time; with --at, as it was believed then to have been.

    Example: rstore past account '2026-11-01 09:00'
    """
    moment = parse_time(time, now())
    show_state(session, key, session.view.past(key, moment, withtimestamp=True), f" at {show_time(moment)}")


@command(app, LOOK, "range", at=True)
def range_(
    session: Session,
    key: Key,
    start: Start = None,
    end: End = None,
    count: Annotated[int | None, typer.Option("--count", "-n", help="At most so many points.")] = None,
    freq: Annotated[int | None, typer.Option("--freq", help="The first point, then those so much later.")] = None,
) -> None:
    """Show the points of a time series.

    Timestamps are ints of any meaning. Times such as 'yesterday' can be asked for where a series came as a frame of
    datetimes, or its timestamps look like POSIX seconds, milliseconds, microseconds or nanoseconds.

    Example: rstore range temperature --start '2 hours ago'
    """
    view = session.view
    unit, low, high = bounds(view, key, start, end)
    points = view.points(key, low, end=high, n=count, freq=freq)
    session.out.rows([Column("timestamp", stamps(unit), "cyan"), Column("value", VALUE)], points)


@command(app, LOOK, at=True)
def resample(
    session: Session,
    key: Key,
    freq: Annotated[
        str, typer.Argument(help="The length of a bin: '5min', '1D', or an int as timestamps are.", show_default=False)
    ],
    how: Annotated[str, typer.Option("--how", help=f"What to make of a bin: {', '.join(HOWS)}.")] = "mean",
    fill: Annotated[str | None, typer.Option("--fill", help=f"For empty bins: {' or '.join(FILLS)}.")] = None,
    start: Start = None,
    end: End = None,
) -> None:
    """Show one point for each bin of time of a series.

    Days are from midnight to midnight in the time zone of the series, if it came as a frame that has one, else in UTC.

    Example: rstore resample temperature 1h --how max --start yesterday
    """
    view = session.view
    unit, low, high = bounds(view, key, start, end)
    points = view.resample(key, bin_length(view, key, unit, freq), how, fill, low, high)
    session.out.rows([Column("timestamp", stamps(unit), "cyan"), Column("value", VALUE)], points)


@command(app, LOOK, at=True)
def events(
    session: Session,
    key: Key,
    start: Start = None,
    end: End = None,
    item: Annotated[str | None, typer.Option("--item", "-i", help="Only events of this item.")] = None,
    op: Annotated[
        list[str] | None, typer.Option("--op", help="Only this operator: setitem, add, ... May be repeated.")
    ] = None,
) -> None:
    """Show the events of a sequence in the order of the times at which they hold.

    Example: rstore events account --item balance --op add --op sub
    """
    foreign = [name for name in op or () if name not in OPERATORS]
    check_usage(not foreign, f"no operator is called {' or '.join(foreign)}: use {', '.join(OPERATORS)}")
    functions = [OPERATORS[name].function for name in op] if op else None
    found = session.view.events(key, when(start), when(end), functions, item)
    if found is None:
        raise Refusal(unknown(session.view, key, ES))
    columns = [
        Column("timestamp", MOMENT, "cyan"),
        Column("item", TEXT, "green"),
        Column("op"),
        Column("value", OPERAND),
    ]
    named = (event._replace(op=name_of(event.op)) for event in found)
    rows = ((time, item, name, Operand(name, value)) for time, item, name, value in named)
    session.out.rows(columns, rows)


@command(app, LOOK, at=True)
def log(
    session: Session,
    since: Annotated[str | None, typer.Option("--since", help="Only what was stored from then on.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only what was stored up to then.")] = None,
    kind: Kind = None,
    prefix: Prefix = None,
    who: Annotated[str | None, typer.Option("--who", help="Only what this person changed.")] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="So many changes, the newest.")] = _NEWEST,
    oldest: Annotated[bool, typer.Option("--oldest", help="All of them, from the oldest on.")] = False,
) -> None:
    """Show who changed what, when and why, the newest first.

    What was written together, by one person for one reason, is shown together.

    Example: rstore log --since yesterday --who ada
    """
    found = session.view.log(when_stored(since), when_stored(until), check_kind(kind), prefix, who)
    if oldest:
        _show_log(session.out, _together(found))
        return
    newest, total = deque[Change](maxlen=number), 0
    for total, change in enumerate(found, 1):  # noqa: B007  # it is told below
        newest.append(change)
    _show_log(session.out, reversed([*_together(newest)]))
    if total > number:
        session.out.note(f"({number} of {total:,} changes: --number {total} or --oldest shows all)")


@command(app, LOOK)
def follow(
    session: Session,
    after: Annotated[str | None, typer.Option("--after", help="The checkpoint of the last change dealt with.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only what was stored from then on: now.")] = None,
    kind: Kind = None,
    prefix: Prefix = None,
    wait: Annotated[float | None, typer.Option("--wait", help="End when nothing came for so many seconds.")] = None,
) -> None:
    """Show all changes, and then those that come, until you press Ctrl-C.

    Each has a checkpoint with which a later --after goes on.

    Example: rstore follow --since now --json
    """
    low = when_stored(since)
    columns = [Column("checkpoint", TEXT, "dim"), *CHANGE_COLUMNS]
    changes = session.store.follow(after, check_kind(kind), prefix, math.inf if wait is None else wait)
    for checkpoint, change in changes:
        if low is not None and change.recorded < low:
            continue
        if session.out.is_terminal:
            _show_log(session.out, [[change]])
        else:
            session.out.rows(columns, [(checkpoint, *change_row(change))])
        session.out.flush()


@command(app, LOOK, at=True)
def history(
    session: Session,
    key: Key,
    kind: Kind = None,
    plot: Annotated[str | None, typer.Option("--plot", help="Draw this item over time.")] = None,
    out: Annotated[str | None, typer.Option("--out", help="Draw it into a file: .png or .svg.")] = None,
) -> None:
    """Show all changes of a key in the order in which they were stored, or draw an item of an event sequence.

    Example: rstore history account --plot balance
    """
    if plot is not None:
        from rstore.cli.plot import draw_item

        draw_item(session, key, plot, out)
        return
    check_usage(out is None, "--out says where to draw to: say with --plot what to draw")
    changes = session.view.history(key, check_kind(kind))
    if not changes:
        raise Refusal(unknown(session.view, key, kind))
    _show_changes(session.out, changes)


@command(app, LOOK, at=True)
def diff(
    session: Session,
    key: Key,
    first: Annotated[str, typer.Argument(help="The earlier time: yesterday.", show_default=False)],
    second: Annotated[str, typer.Argument(help="The later time.")] = "now",
    kind: Kind = None,
) -> None:
    """Show what is different between two states of a key.

    Of an event sequence these are its states as of two times; of a value or a series, what was known at two times.

    Example: rstore diff account yesterday now
    """
    chosen = the_kind(session.view, key, kind)
    found = session.view.diff(key, when_of(chosen, first), when_of(chosen, second), chosen)
    place = Column("timestamp", STAMP, "bold") if chosen == TS else Column("item", TEXT, "bold")
    rows: list[tuple[Any, ...]] = [
        *(("-", item, value) for item, value in found.removed.items()),
        *(each for item, (old, new) in found.changed.items() for each in (("-", item, old), ("+", item, new))),
        *(("+", item, value) for item, value in found.added.items()),
    ]
    session.out.rows([Column("sign"), place, Column("value", VALUE)], rows)


def _info_rows(found: Info, out: Output) -> list[tuple[str, str]]:
    show = MOMENT.seen if out.is_terminal else MOMENT.plain
    return [
        ("backend", found.backend),
        ("namespace", found.namespace),
        ("namespaces", ", ".join(found.namespaces)),
        ("keys", _counts(found.keys)),
        ("records", _counts(found.records)),
        ("bytes", f"{found.bytes:,}"),
        ("oldest", "" if found.oldest is None else show(found.oldest)),
        ("newest", "" if found.newest is None else show(found.newest)),
        ("encrypted", f"{found.encrypted:.0%}"),
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.items())


def _matching(found: Iterable[tuple[str, str]], pattern: str | None) -> Iterable[tuple[str, str]]:
    return found if pattern is None else (pair for pair in found if fnmatchcase(pair[1], pattern))


def _together(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Yield changes that were stored together: at one time, by one person, for one reason."""
    for _, group in groupby(changes, lambda change: (change.recorded, change.who, change.why)):
        yield [*group]


def _show_changes(out: Output, changes: Iterable[Change]) -> None:
    """Print changes in columns; on a terminal, which is only so wide, without what they are changes of."""
    hidden = ("kind", "key") if out.is_terminal else ()
    places = [i for i, column in enumerate(CHANGE_COLUMNS) if column.name not in hidden]
    rows = ([row[i] for i in places] for row in map(change_row, changes))
    out.rows([CHANGE_COLUMNS[i] for i in places], rows)


def _show_log(out: Output, groups: Iterable[list[Change]]) -> None:
    if not out.is_terminal:
        _show_changes(out, (change for group in groups for change in group))
        return
    for group in groups:
        recorded, who, why = group[0].recorded, group[0].who, group[0].why
        out.line(f"{show_time(recorded)}  {show_text(who or 'nobody')}", "bold cyan")
        if why:
            out.line(f"    {show_text(why)}", "italic")
        for change in group:
            out.line(f"    {tell_of(change)}")
        out.line("")

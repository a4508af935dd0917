"""Commands that read a store and change nothing."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from attrs import asdict

from rstore.cli.columns import CHANGE_COLUMNS, OPERAND, STAMP, Operand, change_row, stamps
from rstore.cli.command import READ, Session, command, named_time, transaction_time, valid_time
from rstore.cli.entries import show_changes, show_log, with_line
from rstore.cli.exit_codes import CommandError, check_usage
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
    kind_of,
    show_state,
    time_of,
    unknown_key,
)
from rstore.cli.times import parse_time
from rstore.domain.operators import OPERATORS, name_of
from rstore.domain.resampling import FILLS, HOWS
from rstore.domain.streams import ES, KV, TS
from rstore.history.commits import by_commit, commit_of
from rstore.text.times import show_time
from rstore.text.values import show_text, show_value, to_json

if TYPE_CHECKING:
    from rstore.admin.check import Info

app = typer.Typer()

_NEWEST: Final = 20


@command(app, READ)
def info(session: Session) -> None:
    """Show what is in a store: keys, records, bytes, the oldest and newest record, and how much is encrypted.

    This needs no key.

    Example: rstore info --dsn app.db
    """
    from rstore.admin.check import info as info_of

    with reported("records") as report:
        found = info_of(session.store, report)
    if session.out.json:
        session.out.json_line(asdict(found))
        return
    session.out.rows([Column("what", TEXT, "dim"), Column("value")], _info_rows(found, session.out))


@command(app, READ, at=True)
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


@command(app, READ, at=True)
def get(
    session: Session, key: Key, text: Annotated[bool, typer.Option("--text", help="Print text as it is.")] = False
) -> None:
    """Show the value of a key.

    The output is what `rstore set` takes: JSON or, if it is not JSON, text.

    Example: rstore get price --at '3 days ago'
    """
    found = session.view.get_many([key])
    if key not in found:
        raise CommandError(unknown_key(session.view, key, KV))
    value = found[key]
    if text:
        check_usage(isinstance(value, str), f"the value of {key!r} is no text but {type(value).__name__}: drop --text")
        session.out.line(value)
    elif session.out.json:
        session.out.json_line({"key": key, "value": to_json(value)})
    else:
        session.out.line(show_value(value))


@command(app, READ, at=True)
def current(session: Session, key: Key) -> None:
    """Show the current state of an event sequence.

    Example: rstore current account --at yesterday
    """
    show_state(session, key, session.view.current(key, withtimestamp=True))


@command(app, READ, at=True)
def past(session: Session, key: Key, time: Annotated[str, typer.Argument(help="When: '2026-11-01 09:00'.")]) -> None:
    """Show the state of an event sequence at a time; with --at, the state as it was known then.

    Example: rstore past account '2026-11-01 09:00'
    """
    moment = named_time(parse_time, time, session.store)
    show_state(session, key, session.view.past(key, moment, withtimestamp=True), f" at {show_time(moment)}")


@command(app, READ, "range", at=True)
def range_(
    session: Session,
    key: Key,
    start: Start = None,
    end: End = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", help="The greatest number of points; -3: the last three.")
    ] = None,
    freq: Annotated[
        int | None,
        typer.Option("--freq", help="The first point, then each point at least this much after the last one."),
    ] = None,
) -> None:
    """Show the points of a time series.

    Timestamps are ints of any meaning. You can give times such as 'yesterday' if the series was stored from a frame of
    datetimes. You can also do so if its timestamps look like POSIX seconds, milliseconds, microseconds or nanoseconds.

    Example: rstore range temperature --start '2 hours ago'
    """
    view = session.view
    unit, low, high = bounds(view, key, start, end)
    points = view.points(key, low, end=high, n=count, freq=freq)
    session.out.rows([Column("timestamp", stamps(unit), "cyan"), Column("value", VALUE)], points)


@command(app, READ, at=True)
def resample(
    session: Session,
    key: Key,
    freq: Annotated[
        str,
        typer.Argument(
            help="The length of a bin: '5min', '1D', or an int in the unit of the timestamps.", show_default=False
        ),
    ],
    how: Annotated[str, typer.Option("--how", help=f"The value of a bin: {', '.join(HOWS)}.")] = "mean",
    fill: Annotated[str | None, typer.Option("--fill", help=f"For empty bins: {' or '.join(FILLS)}.")] = None,
    start: Start = None,
    end: End = None,
) -> None:
    """Show one point of a series for each bin of time.

    Days begin at midnight in the time zone of the series if it was stored from a frame that has one, else in UTC.

    Example: rstore resample temperature 1h --how max --start yesterday
    """
    view = session.view
    unit, low, high = bounds(view, key, start, end)
    points = view.resample(key, bin_length(view, key, unit, freq), how, fill, low, high)
    session.out.rows([Column("timestamp", stamps(unit), "cyan"), Column("value", VALUE)], points)


@command(app, READ, at=True)
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
    """Show the events of a sequence in the order of their valid times.

    Example: rstore events account --item balance --op add --op sub
    """
    foreign = [name for name in op or () if name not in OPERATORS]
    check_usage(not foreign, f"no operator is called {' or '.join(foreign)}: use {', '.join(OPERATORS)}")
    functions = [OPERATORS[name].function for name in op] if op else None
    found = session.view.events(key, valid_time(start), valid_time(end), functions, item)
    if found is None:
        raise CommandError(unknown_key(session.view, key, ES))
    columns = [
        Column("timestamp", MOMENT, "cyan"),
        Column("item", TEXT, "green"),
        Column("op"),
        Column("value", OPERAND),
    ]
    named = (event._replace(op=name_of(event.op)) for event in found)
    rows = ((time, item, name, Operand(name, value)) for time, item, name, value in named)
    session.out.rows(columns, rows)


@command(app, READ, at=True)
def log(
    session: Session,
    since: Annotated[str | None, typer.Option("--since", help="Only changes that were stored from then on.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only changes that were stored up to then.")] = None,
    kind: Kind = None,
    prefix: Prefix = None,
    who: Annotated[str | None, typer.Option("--who", help="Only changes by this person.")] = None,
    did: Annotated[str | None, typer.Option("--did", help="Only changes by decisions of this name.")] = None,
    more: Annotated[
        list[str] | None, typer.Option("--more", help="Only changes with this word: request=4711. May be repeated.")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many entries, the newest ones.")] = _NEWEST,
    oldest: Annotated[bool, typer.Option("--oldest", help="All entries, the oldest first.")] = False,
    changes: Annotated[bool, typer.Option("--changes", help="A line for each change, not an entry a commit.")] = False,
) -> None:
    """Show who changed what, when and why, the newest first.

    An entry is a commit: what was stored together, below the name of its decision. In a pipe, each change is a line.

    Example: rstore log --since yesterday --who ada --did pay
    """
    flat = changes or not session.out.is_terminal
    low, high = (transaction_time(text, session.store) for text in (since, until))
    words = list(map(_word, more or ()))
    logged = session.view.log(low, high, check_kind(kind), prefix, who, did=did)
    selected = (each for each in logged if all(each.more.get(word) in values for word, values in words))
    entries: Iterator[Any] = selected if flat else by_commit(map(with_line, selected))
    show = partial(show_changes, session.out, ("arguments", "commit")) if flat else partial(show_log, session.out)
    if oldest:
        show(entries)
        return
    newest, total = deque[Any](maxlen=number), 0
    for total, entry in enumerate(entries, 1):  # noqa: B007  # it is used below
        newest.append(entry)
    if flat:  # within a commit, changes stay in the order of the log
        show(change for commit in reversed([*by_commit(newest)]) for change in commit.changes)
    else:
        show(reversed(newest))
    if total > number:
        noun = "changes" if flat else "commits"
        session.out.note(f"({number} of {total:,} {noun}: --number {total} or --oldest shows all)")


@command(app, READ)
def follow(
    session: Session,
    after: Annotated[
        str | None, typer.Option("--after", help="The checkpoint of the last change that you have processed.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only changes that were stored from then on: now.")
    ] = None,
    kind: Kind = None,
    prefix: Prefix = None,
    wait: Annotated[float | None, typer.Option("--wait", help="End after this many seconds without a change.")] = None,
) -> None:
    """Show all changes, and then new ones as they come, until you press Ctrl-C.

    Each change has a checkpoint: pass it to --after, and a later call goes on from there.

    Example: rstore follow --since now --json
    """
    low = transaction_time(since, session.store)
    columns = [Column("checkpoint", TEXT, "dim"), *CHANGE_COLUMNS]
    changes = session.store.follow(after, check_kind(kind), prefix, math.inf if wait is None else wait)
    for checkpoint, change in changes:
        if low is not None and change.recorded < low:
            continue
        if session.out.is_terminal:
            show_log(session.out, [commit_of([with_line(change)])])
        else:
            session.out.rows(columns, [(checkpoint, *change_row(change))])
        session.out.flush()


@command(app, READ, at=True)
def history(
    session: Session,
    key: Key,
    kind: Kind = None,
    plot: Annotated[str | None, typer.Option("--plot", help="Draw this item over time.")] = None,
    out: Annotated[str | None, typer.Option("--out", help="Draw into a file: .png or .svg.")] = None,
) -> None:
    """Show all changes of a key in the order in which they were stored, or draw an item of an event sequence.

    Example: rstore history account --plot balance
    """
    if plot is not None:
        from rstore.cli.plot import draw_item

        draw_item(session, key, plot, out)
        return
    check_usage(out is None, "--out names the file to draw into: name the item with --plot")
    changes = session.view.history(key, check_kind(kind))
    if not changes:
        raise CommandError(unknown_key(session.view, key, kind))
    show_changes(session.out, ("kind", "key", "arguments", "commit"), changes)


@command(app, READ, at=True)
def diff(
    session: Session,
    key: Key,
    first: Annotated[str, typer.Argument(help="The earlier time: yesterday.", show_default=False)],
    second: Annotated[str, typer.Argument(help="The later time.")] = "now",
    kind: Kind = None,
) -> None:
    """Show the differences between two states of a key.

    For an event sequence, these are its states at two valid times; for a value or a series, at two transaction times.

    Example: rstore diff account yesterday now
    """
    chosen = kind_of(session.view, key, kind)
    t1, t2 = (time_of(session.store, chosen, text) for text in (first, second))
    found = session.view.diff(key, t1, t2, chosen)
    member = Column("timestamp", STAMP, "bold") if chosen == TS else Column("item", TEXT, "bold")
    rows: list[tuple[Any, ...]] = [
        *(("-", item, value) for item, value in found.removed.items()),
        *(each for item, (old, new) in found.changed.items() for each in (("-", item, old), ("+", item, new))),
        *(("+", item, value) for item, value in found.added.items()),
    ]
    session.out.rows([Column("sign"), member, Column("value", VALUE)], rows)


def _info_rows(found: Info, out: Output) -> list[tuple[str, str]]:
    show = MOMENT.terminal if out.is_terminal else MOMENT.plain
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
        *([("tags", ", ".join(map(show_text, found.tags)))] if found.tags else []),
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.items())


def _matching(found: Iterable[tuple[str, str]], pattern: str | None) -> Iterable[tuple[str, str]]:
    return found if pattern is None else (pair for pair in found if fnmatchcase(pair[1], pattern))


def _word(text: str) -> tuple[str, list[Any]]:
    """Return a word of a context, and the values that its text may stand for: the text itself, and its JSON."""
    word, _, value = text.partition("=")
    check_usage(bool(word and "=" in text), f"--more takes word=value, such as request=4711, and not {text!r}")
    try:
        return word, [value, json.loads(value)]
    except ValueError:
        return word, [value]

"""What commands that read share: arguments, and how they look up keys, kinds and times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer

from rstore.bins import grid
from rstore.cli.command import Session, named_time
from rstore.cli.exit_codes import USAGE, CommandError, check_usage
from rstore.cli.output import TEXT, VALUE, Column
from rstore.cli.times import parse_recorded, parse_time
from rstore.core import now
from rstore.domain.streams import ES, KV, TS
from rstore.encoding.columns import TimeAxis
from rstore.store import Store
from rstore.text.times import is_integer, show_time
from rstore.text.units import Unit, named, recognised
from rstore.text.values import to_json
from rstore.view import View

Key = Annotated[str, typer.Argument(help="The key.", show_default=False)]
Kind = Annotated[
    str | None, typer.Option("--kind", "-k", help="kv (values), ts (time series) or es (event sequences).")
]
Prefix = Annotated[str | None, typer.Option("--prefix", "-p", help="Only keys that begin with this.")]
Start = Annotated[str | None, typer.Option("--start", help="The first time, included.")]
End = Annotated[str | None, typer.Option("--end", help="The last time, included.")]

KINDS: Final = (KV, TS, ES)


def check_kind(kind: str | None) -> str | None:
    """Return a kind that the user typed, after checking it.

    Raises:
        CommandError: there is no such kind.
    """
    check_usage(kind is None or kind in KINDS, f"--kind is {', '.join(KINDS)}, not {kind!r}")
    return kind


def kind_of(view: Store | View, key: str, kind: str | None) -> str:
    """Return the kind of a key: the one that the user asked for, or the only one that the key has.

    Raises:
        CommandError: there is no such key, or the key has several kinds.
    """
    check_kind(kind)
    kinds = [each for each in KINDS if kind in (None, each) and view.version(key, each)]
    if not kinds:
        raise CommandError(unknown_key(view, key, kind))
    check_usage(len(kinds) == 1, f"{key!r} has several kinds: say which, --kind {' or --kind '.join(kinds)}")
    return kinds[0]


def time_of(view: Store | View, kind: str, text: str) -> int:
    """Return a time that the user typed: the valid time of an event sequence, the transaction time of other kinds."""
    return named_time(parse_time if kind == ES else parse_recorded, text, view)


def unit_of(view: Store | View, key: str, last: int) -> Unit | None:
    """Return the unit of a series: its own if it was stored from a frame, else one that fits its last timestamp."""
    return named(view.time_axis(key, quick=True).unit) or recognised(last)


def timestamp_of(text: str | None, key: str, last: int, unit: Unit | None) -> int | None:
    """Return a time that the user typed as a timestamp of a series: an int as it is, a date in the series' unit.

    Raises:
        CommandError: the series' timestamps don't look like times.
    """
    if text is None:
        return None
    if is_integer(text):
        return int(text)
    if unit is None:
        raise CommandError(
            f"the timestamps of {key!r} don't look like times ({last}): write {text!r} as one of them", USAGE
        )
    return unit.from_ms(parse_time(text, now()))


def bounds(
    view: Store | View, key: str, start: str | None, end: str | None
) -> tuple[Unit | None, int | None, int | None]:
    """Return the unit of a series, and the span that the user typed as timestamps of this series.

    Raises:
        CommandError: there is no such series, or its timestamps don't look like times.
    """
    point = view.last(key)
    if point is None:
        raise CommandError(unknown_key(view, key, TS))
    last, _ = point
    unit = unit_of(view, key, last)
    return unit, timestamp_of(start, key, last, unit), timestamp_of(end, key, last, unit)


def bin_length(view: Store | View, key: str, unit: Unit | None, freq: str) -> int | str:
    """Return a frequency that the user typed as the series takes it: as text, or as an int of the unit that it fits."""
    if is_integer(freq):
        return int(freq)
    is_own = unit is None or view.time_axis(key, quick=True).unit == unit.name
    return freq if is_own or unit is None else grid(freq, TimeAxis(unit.name)).step


def keys_of(view: Store | View, kind: str, prefix: str) -> Iterable[str]:
    """Return the keys of a kind that begin with a prefix."""
    if kind == KV:
        return (key for key in view if key.startswith(prefix))
    return view.timeseries(prefix) if kind == TS else view.eventsources(prefix)


def unknown_key(view: Store | View, key: str, kind: str | None) -> str:
    """Return the message that there is no such key. It names another kind of the same key, if there is one."""
    names = {KV: "a value", TS: "a series", ES: "an event sequence"}
    others = [names[each] for each in KINDS if each != kind and _is_there(view, each, key)]
    wanted = "key" if kind is None else names[kind].partition(" ")[2]
    then = f" as of {show_time(view.moment)}" if isinstance(view, View) else ""
    return f"there is no {wanted} {key!r}{then}{f': it is the key of {others[0]}' if others else ''}"


def _is_there(view: Store | View, kind: str, key: str) -> bool:
    return view.has(key) if kind == KV else key in keys_of(view, kind, key)


def show_state(session: Session, key: str, found: tuple[int | None, dict[str, Any]] | None, suffix: str = "") -> None:
    """Print the state of an event sequence, or raise an error if there is none."""
    if found is None:
        raise CommandError(f"{unknown_key(session.view, key, ES)}{suffix}")
    timestamp, state = found
    if session.out.json:
        session.out.json_line({"key": key, "timestamp": timestamp, "state": {k: to_json(v) for k, v in state.items()}})
    else:
        session.out.rows([Column("item", TEXT, "green"), Column("value", VALUE)], state.items())

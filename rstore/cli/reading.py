"""What commands that read have in common: arguments, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer

from rstore.bins import grid
from rstore.cli.command import Session, check_usage
from rstore.cli.exit_codes import USAGE, Refusal
from rstore.cli.output import TEXT, VALUE, Column
from rstore.cli.times import is_integer, parse_recorded, parse_time, show_time
from rstore.cli.units import Unit, named, recognised
from rstore.cli.values import to_json
from rstore.core import now
from rstore.domain.streams import ES, KV, TS
from rstore.encoding.columns import TimeAxis
from rstore.store import Store
from rstore.view import View

Key = Annotated[str, typer.Argument(help="The key.", show_default=False)]
Kind = Annotated[
    str | None, typer.Option("--kind", "-k", help="kv (values), ts (time series) or es (event sequences).")
]
Prefix = Annotated[str | None, typer.Option("--prefix", "-p", help="Only keys that begin with it.")]
Start = Annotated[str | None, typer.Option("--start", help="The first time that counts.")]
End = Annotated[str | None, typer.Option("--end", help="The last time that counts.")]

KINDS: Final = (KV, TS, ES)


def check_kind(kind: str | None) -> str | None:
    """Return a kind that was typed.

    Raises:
        Refusal: there is no such kind.
    """
    check_usage(kind is None or kind in KINDS, f"--kind is {', '.join(KINDS)}, not {kind!r}")
    return kind


def the_kind(view: Store | View, key: str, kind: str | None) -> str:
    """Return which of its kinds a key is to be looked at as: the one that it has, unless one was asked for.

    Raises:
        Refusal: there is no such key, or there are several of this name.
    """
    check_kind(kind)
    has = [each for each in KINDS if kind in (None, each) and view.version(key, each)]
    if not has:
        raise Refusal(unknown(view, key, kind))
    check_usage(len(has) == 1, f"{key!r} is the key of several things: say which, --kind {' or --kind '.join(has)}")
    return has[0]


def when_of(kind: str, text: str) -> int:
    """Return a time that was typed: a valid time of an event sequence, a transaction time of other kinds."""
    return (parse_time if kind == ES else parse_recorded)(text, now())


def unit_of(view: Store | View, key: str, last: int) -> Unit | None:
    """Return the unit of a series: its own, if it came as a frame, else the one that its last timestamp looks like."""
    return named(view.time_axis(key, quick=True).unit) or recognised(last)


def stamp(text: str | None, key: str, last: int, unit: Unit | None) -> int | None:
    """Return a series' timestamp of a time that was typed: an int as it is, another in the unit of the series.

    Raises:
        Refusal: its timestamps look like no times.
    """
    if text is None:
        return None
    if is_integer(text):
        return int(text)
    if unit is None:
        raise Refusal(f"the timestamps of {key!r} look like no times ({last}): write {text!r} as one of them", USAGE)
    return unit.from_ms(parse_time(text, now()))


def bounds(
    view: Store | View, key: str, start: str | None, end: str | None
) -> tuple[Unit | None, int | None, int | None]:
    """Return the unit of a series, and between which timestamps to look: the times that were typed, in its unit.

    Raises:
        Refusal: there is no such series, or its timestamps look like no times.
    """
    point = view.last(key)
    if point is None:
        raise Refusal(unknown(view, key, TS))
    last, _ = point
    unit = unit_of(view, key, last)
    return unit, stamp(start, key, last, unit), stamp(end, key, last, unit)


def bin_length(view: Store | View, key: str, unit: Unit | None, freq: str) -> int | str:
    """Return a frequency that was typed, as the series takes it: in its own unit, or in the one that it looks like."""
    if is_integer(freq):
        return int(freq)
    is_own = unit is None or view.time_axis(key, quick=True).unit == unit.name
    return freq if is_own or unit is None else grid(freq, TimeAxis(unit.name)).step


def keys_of(view: Store | View, kind: str, prefix: str) -> Iterable[str]:
    """Return the keys of a kind that begin with a prefix."""
    if kind == KV:
        return (key for key in view if key.startswith(prefix))
    return view.timeseries(prefix) if kind == TS else view.eventsources(prefix)


def unknown(view: Store | View, key: str, kind: str | None) -> str:
    """Return a message that there is no such key, and what there is of this name instead."""
    names = {KV: "a value", TS: "a series", ES: "an event sequence"}
    others = [names[each] for each in KINDS if each != kind and _is_there(view, each, key)]
    wanted = "key" if kind is None else names[kind].partition(" ")[2]
    then = f" as of {show_time(view.moment)}" if isinstance(view, View) else ""
    return f"there is no {wanted} {key!r}{then}{f': it is the key of {others[0]}' if others else ''}"


def _is_there(view: Store | View, kind: str, key: str) -> bool:
    return view.has(key) if kind == KV else key in keys_of(view, kind, key)


def show_state(session: Session, key: str, found: tuple[int | None, dict[str, Any]] | None, suffix: str = "") -> None:
    """Print the state of an event sequence, or raise a refusal if there is none."""
    if found is None:
        raise Refusal(f"{unknown(session.view, key, ES)}{suffix}")
    timestamp, state = found
    if session.out.json:
        session.out.json_line({"key": key, "timestamp": timestamp, "state": {k: to_json(v) for k, v in state.items()}})
    else:
        session.out.rows([Column("item", TEXT, "green"), Column("value", VALUE)], state.items())

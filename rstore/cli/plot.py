"""Commands that draw charts."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Annotated, Any

import typer

from rstore.cli.charts import Curve, characters, number, picture, steps
from rstore.cli.command import PLOT, Session, command
from rstore.cli.exit_codes import CommandError, check_usage
from rstore.cli.reading import End, Start, bounds, unknown_key
from rstore.domain.event_state import EventState, Fact, fold
from rstore.domain.operators import name_of
from rstore.domain.streams import ES
from rstore.store import Store
from rstore.text.units import Unit, named
from rstore.view import View

app = typer.Typer()

Out = Annotated[str | None, typer.Option("--out", "-o", help="Draw into a file: .png or .svg.")]


@command(app, PLOT, at=True)
def plot(
    session: Session,
    keys: Annotated[list[str], typer.Argument(help="The keys of series.", show_default=False)],
    out: Out = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", "-c", help="Of rows: a column. May be repeated; otherwise all with numbers."),
    ] = None,
    start: Start = None,
    end: End = None,
) -> None:
    """Draw time series, in the terminal or into a file.

    The axis shows times if the series was stored from a frame of datetimes. It also does so if its timestamps look
    like POSIX seconds, milliseconds, microseconds or nanoseconds.

    Example: rstore plot temperature humidity --start '2 days ago' --out climate.png
    """
    draw(session, [curve for key in keys for curve in _curves(session.view, key, column, start, end)], out)


def draw_item(session: Session, key: str, item: str, out: str | None) -> None:
    """Draw an item of an event sequence over time, as steps."""
    found = session.view.events(key, item=item)
    if not found:
        raise CommandError(
            unknown_key(session.view, key, ES) if found is None else f"{key!r} has no events of an item {item!r}"
        )
    folded, values = EventState(), []
    for event in found:
        folded = fold(folded, [Fact(0, event.timestamp, item, name_of(event.op), event.value)])
        values.append(number(folded.state.get(item), item, event.timestamp))
    draw(session, [steps(Curve(item, [event.timestamp for event in found], values))], out)


def draw(session: Session, curves: list[Curve], out: str | None) -> None:
    """Draw curves into a file, or print them."""
    check_usage(not session.out.json, "--json prints no picture: use range or history for the values")
    if out is not None:
        picture(curves, out)
    else:
        session.out.line(characters(curves, colours=session.out.has_colours).rstrip("\n"))


def _curves(view: Store | View, key: str, columns: list[str] | None, start: str | None, end: str | None) -> list[Curve]:
    """Return the curve of a series. A series of rows, as a frame stores them, has a curve for each column."""
    _, low, high = bounds(view, key, start, end)
    points = view.range(key, low, end=high)
    if not points:
        raise CommandError(f"{key!r} has no points in that span")
    unit = named(view.time_axis(key, quick=True).unit)
    if unit is not None and not (unit.has_date(points[0][0]) and unit.has_date(points[-1][0])):
        unit = None
    names = dict.fromkeys(name for _, row in points if isinstance(row, dict) for name in row)
    if not names:
        return [_curve(key, points, unit)]
    check_usage(set(columns or ()) <= set(names), f"{key!r} has the columns {', '.join(map(str, names))}")
    found = {name: [(time, row.get(name) if isinstance(row, dict) else None) for time, row in points] for name in names}
    chosen = columns or [name for name in names if any(_is_number(value) for _, value in found[name])]
    if not chosen:
        raise CommandError(f"{key!r} has no column with numbers: it can't be drawn")
    return [_curve(f"{key}.{name}", found[name], unit) for name in chosen]


def _curve(name: str, points: Sequence[tuple[int, Any]], unit: Unit | None) -> Curve:
    return Curve(name, [time for time, _ in points], [number(value, name, time) for time, value in points], unit)


def _is_number(value: object) -> bool:
    return isinstance(value, Real | Decimal)

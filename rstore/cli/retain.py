"""Commands for retentions: how long keys, points and events are kept."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rstore.cli.command import READ, WRITE, Access, Session, command
from rstore.cli.exit_codes import check_usage
from rstore.cli.output import MOMENT, TEXT, Column

app = typer.Typer()

_COLUMNS: Final = [
    Column("pattern", TEXT, "yellow"),
    Column("age"),
    Column("kind", TEXT, "dim"),
    Column("unit"),
    Column("recorded", MOMENT),
    Column("who"),
    Column("why"),
]


@command(app, READ)
def retentions(session: Session) -> None:
    """List how long keys, points and events are kept: `rstore compact` erases what is older.

    Example: rstore retentions
    """
    rows = session.store.retentions()
    session.out.rows(_COLUMNS, [each._replace(age=each.length) for each in rows])  # type: ignore[arg-type]


@command(app, WRITE, access=Access.CHANGE)
def retain(
    session: Session,
    pattern: Annotated[str, typer.Argument(help="Which keys: 'log/*'.", show_default=False)],
    age: Annotated[str | None, typer.Argument(help="How long: '90 days', 12h.", show_default=False)] = None,
    end: Annotated[bool, typer.Option("--end", help="No longer.")] = False,
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only kv, ts or es.")] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", "-u", help="That of series of plain ints: s, ms, us, ns.")
    ] = None,
) -> None:
    """Say how long keys, points and events are kept: `rstore compact` then erases what is older.

    Example: rstore retain 'log/*' '90 days' --who ada --why 'privacy policy'
    """
    check_usage((age is None) == end, "say either how long, as in '90 days', or --end")
    session.store.retain(pattern, age, kind=kind, unit=unit)

"""Commands for projections and deliveries: how far behind they are, and what happens to messages that failed."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rstore.cli.command import READ, WRITE, Access, Session, command
from rstore.cli.exit_codes import CommandError
from rstore.cli.output import COUNT, MOMENT, TEXT, Column
from rstore.history.deliveries import DeliveryLag, DueKey
from rstore.history.lag import ProjectionLag

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="The name of the delivery: mail.", show_default=False)]

_NAME: Final = Column("name", TEXT, "yellow")
_LAGS: Final = [_NAME, *(Column(each, COUNT) for each in DeliveryLag._fields[1:])]
_PROJECTION_LAGS: Final = [_NAME, Column("checkpoint"), *(Column(each, COUNT) for each in ProjectionLag._fields[2:])]
_SKIPPED: Final = [
    Column("recorded", MOMENT),
    Column("kind", TEXT, "dim"),
    Column("key", TEXT, "yellow"),
    Column("version", COUNT),
    Column("checkpoint"),
    Column("error"),
]
_KEYS: Final = [
    Column("kind", TEXT, "dim"),
    Column("key", TEXT, "yellow"),
    Column("state"),
    Column("version", COUNT),
    Column("attempts", COUNT),
    Column("error"),
    Column("since", MOMENT),
    Column("owner"),
    Column("until", MOMENT),
]


@command(app, READ)
def deliveries(
    session: Session,
    name: Annotated[str | None, typer.Argument(help="A delivery: show the keys in its queue.")] = None,
) -> None:
    """Show how far behind each delivery is, or the keys in the queue of one: their errors, and the owners of leases.

    Example: rstore deliveries mail
    """
    if name is None:
        session.out.rows(_LAGS, session.store.deliveries())
    else:
        session.out.rows(_KEYS, session.store.due(name))


@command(app, READ)
def projections(
    session: Session,
    name: Annotated[str | None, typer.Argument(help="A projection: show the changes that it has skipped.")] = None,
) -> None:
    """Show how far behind each projection is, or the changes that one has skipped, and the error of each.

    Example: rstore projections totals
    """
    if name is None:
        session.out.rows(_PROJECTION_LAGS, session.store.projections())
    else:
        session.out.rows(_SKIPPED, session.store.skipped(name))


@command(app, WRITE, access=Access.CHANGE)
def retry(
    session: Session,
    name: Name,
    keys: Annotated[list[str] | None, typer.Argument(help="Only these keys.", show_default=False)] = None,
) -> None:
    """Let parked messages of a delivery be tried anew, and those that wait for their next attempt.

    Example: rstore retry mail order-1
    """
    _show(session, session.store.retry(name, *(keys or ())))


@command(app, WRITE, access=Access.CHANGE)
def skip(
    session: Session,
    name: Name,
    keys: Annotated[list[str], typer.Argument(help="The keys.", show_default=False)],
) -> None:
    """Skip the parked message of some keys: it is not delivered. The delivery goes on with the one after it.

    Example: rstore skip mail order-1
    """
    _show(session, session.store.skip(name, *keys))


def _show(session: Session, changed: list[DueKey]) -> None:
    """Print keys as they were before, or end with an error if there are none."""
    if not changed:
        raise CommandError("nothing is parked there: see `rstore deliveries NAME`")
    session.out.rows(_KEYS, changed)

"""Commands for projections and deliveries: how far behind they are, and what happens to messages that failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import typer

from rstore.cli.command import READ, WRITE, Access, Session, command
from rstore.cli.exit_codes import CommandError
from rstore.cli.output import COUNT, MOMENT, TEXT, Column
from rstore.history.deliveries import DeliveryLag, DueKey
from rstore.history.lag import ProjectionLag
from rstore.html import counted

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
        return
    _check_known("delivery", name, (each.name for each in session.store.deliveries(most=1)))
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
        return
    _check_known("projection", name, (each.name for each in session.store.projections(most=1)))
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
    changed = session.store.retry(name, *(keys or ()))
    _show(session, name, keys, changed)
    session.out.note(f"{counted(len(changed), 'message')} will be tried anew")


@command(app, WRITE, access=Access.CHANGE)
def skip(
    session: Session,
    name: Name,
    keys: Annotated[list[str], typer.Argument(help="The keys.", show_default=False)],
) -> None:
    """Skip the parked message of some keys: it is not delivered. The delivery goes on with the one after it.

    Example: rstore skip mail order-1
    """
    changed = session.store.skip(name, *keys)
    _show(session, name, keys, changed)
    session.out.note(f"{counted(len(changed), 'message')} will not be delivered")


def _check_known(kind: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        plural = {"delivery": "deliveries", "projection": "projections"}[kind]
        raise CommandError(f"there is no {kind} {name!r} in this store: `rstore {plural}` lists all")


def _show(session: Session, name: str, keys: list[str] | None, changed: list[DueKey]) -> None:
    """Print keys as they were before, or end with an error if there are none."""
    if not changed:
        _check_known("delivery", name, (each.name for each in session.store.deliveries(most=1)))
        of = f" of {', '.join(map(repr, keys))}" if keys else ""
        raise CommandError(f"the delivery {name!r} has no such message{of}: `rstore deliveries {name}` lists its keys")
    session.out.rows(_KEYS, changed)

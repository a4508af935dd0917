"""Commands for tags: names of moments, which all commands take in place of a time."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rstore.cli.command import READ, WRITE, Access, Session, command, named_time
from rstore.cli.exit_codes import check_usage
from rstore.cli.output import MOMENT, TEXT, Column
from rstore.cli.times import parse_recorded, parse_time
from rstore.core import now

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="The name: 'close of May'.", show_default=False)]

_COLUMNS: Final = [
    Column("name", TEXT, "yellow"),
    Column("moment", MOMENT),
    Column("recorded", MOMENT),
    Column("who", TEXT),
    Column("why", TEXT),
]


@command(app, READ, at=True)
def tags(
    session: Session,
    name: Annotated[str | None, typer.Argument(help="A tag: when it was set, moved and removed.")] = None,
) -> None:
    """List the tags, or show how one of them was set, moved and removed: it then stands for no moment.

    Example: rstore tags
    """
    session.out.rows(_COLUMNS, session.view.tags() if name is None else session.view.tag_history(name))


@command(app, WRITE, access=Access.CHANGE)
def tag(
    session: Session,
    name: Name,
    time: Annotated[str | None, typer.Argument(help="The moment, if not now: 'yesterday 18:00'.")] = None,
    move: Annotated[bool, typer.Option("--move", help="Also if the tag stands for another moment.")] = False,
) -> None:
    """Give a moment a name, which all commands take in place of a time of the past.

    Example: rstore tag 'close of May' '2026-06-01 00:00' --who ada
    """
    check_usage(not _is_time(name), f"{name!r} is a time, and can't be the name of a tag: add a word to it")
    moment = None if time is None else named_time(parse_recorded, time, session.store)
    session.store.tag(name, moment, move=move)


@command(app, WRITE, access=Access.CHANGE)
def untag(session: Session, name: Name) -> None:
    """Remove a tag. When it was set and removed stays in the log.

    Example: rstore untag 'close of May' --who ada
    """
    session.store.untag(name)


def _is_time(name: str) -> bool:
    try:
        parse_time(name, now())
    except ValueError:
        return False
    return True

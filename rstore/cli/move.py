"""Commands that move what is stored, and that care for it."""

from __future__ import annotations

import code
from pathlib import Path
from typing import Annotated

import typer

from rstore.cli.command import MOVE, Session, command
from rstore.store import new_key

app = typer.Typer()


@command(app, MOVE)
def backup(session: Session, file: Annotated[Path, typer.Argument(help="A new file.", show_default=False)]) -> None:
    """Copy a SQLite store into a file, also while it is written to.

    Example: rstore backup /backups/app.db
    """
    from rstore.cli.progress import reported

    with reported("pages") as told:
        session.store.backup(file, told)


@command(app, MOVE, "new-key", store=False)
def new_key_(session: Session) -> None:
    """Print a new key, to be kept in a file that nobody else can read.

    Example: (umask 077; rstore new-key > app.key)
    """
    session.out.line(new_key())


@command(app, MOVE)
def shell(session: Session, write: Annotated[bool, typer.Option("--write", help="Let it write.")] = False) -> None:
    """Open Python, or IPython if there is one, with the store as `s`.

    Example: rstore shell --dsn app.db
    """
    with session.place.store(frozen=not write) as store:
        names = {"s": store}
        banner = f"s is {store!r}"
        try:
            from IPython import start_ipython
        except ModuleNotFoundError:
            code.interact(banner, local=names, exitmsg="")
        else:
            start_ipython(argv=["--no-banner", "--no-confirm-exit"], user_ns=names)

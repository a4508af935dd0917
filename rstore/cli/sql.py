"""The command that answers a query in SQL."""

from __future__ import annotations

import csv
from typing import Annotated, Any, Final

import typer

from rstore.cli.command import READ, Session, command
from rstore.cli.exit_codes import check_usage
from rstore.cli.output import Column, Form
from rstore.html import counted
from rstore.text.cells import cell_to_json, row_of_csv, show_cell
from rstore.text.values import parse_value

app = typer.Typer()


@command(app, READ, at=True)
def sql(
    session: Session,
    query: Annotated[str, typer.Argument(help="One SELECT; '-' reads it from standard input.", show_default=False)],
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="name=value, for $name in the query. May be repeated.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with a header.")] = False,
) -> None:
    """Answer a query in SQL: over kv, points, events, states, changes, commits, and each series by its name.

    It reads this namespace and nothing else. A name with a time, as in FROM "price@2026-05-01", reads the series as it
    was known then.

    Example: rstore sql 'SELECT key, count(*) FROM events GROUP BY key'
    """
    check_usage(not (as_csv and session.out.json), "--csv and --json are two formats: leave out one")
    text = typer.get_text_stream("stdin").read() if query == "-" else query
    parameters = dict(map(_parameter, param)) if param else None
    result = session.view.sql(text, parameters)
    if as_csv:
        writer = csv.writer(session.out.file, lineterminator="\n")
        writer.writerow(result.columns)
        writer.writerows(map(row_of_csv, result))
    else:
        session.out.rows([Column(name, _CELL) for name in result.columns], result)
    if result.unreadable:
        session.out.note(f"{counted(result.unreadable, 'value')} could not be loaded: they are NULL")


def _parameter(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    check_usage(bool(name and sign), f"--param takes name=value, such as key=price, and not {text!r}")
    return name, parse_value(value)


_CELL: Final = Form(show_cell, show_cell, cell_to_json)

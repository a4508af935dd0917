"""Commands that move what is stored, and that maintain a store."""

from __future__ import annotations

import code
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from attrs import astuple

from rstore.cli.advice import translated
from rstore.cli.command import TRANSFER, Access, Session, command
from rstore.cli.exit_codes import NEGATIVE, CommandError, check_usage
from rstore.cli.formats import TABLE_SUFFIXES, format_of_name, source_of
from rstore.cli.output import COUNT, TEXT, Column
from rstore.cli.progress import reported
from rstore.cli.tables import FormatOptions, PointOptions
from rstore.store import new_key

app = typer.Typer()

Format = Annotated[
    str | None,
    typer.Option("--format", "-f", help="jsonl, csv or parquet, if the file does not show it."),
]

_DIGEST: Final = [Column("records", COUNT), Column("digest")]
_POINTS: Final = [Column("points", COUNT)]
_IMPORTED: Final = [Column(name, COUNT) for name in ("rows", "points", "replaced", "not_points", "texts_among_numbers")]


def _existing(file: str) -> str:
    """Return the name of a file, or raise if there is none: the command then creates no store for it."""
    if file != "-":
        Path(file).stat()
    return file


@command(app, TRANSFER)
def export(
    session: Session,
    file: Annotated[str, typer.Argument(help="A file; - is standard output.")] = "-",
    form: Format = None,
    series: Annotated[
        list[str] | None,
        typer.Option("--series", "-s", help="Of a table: one series. May be repeated; otherwise all."),
    ] = None,
) -> None:
    """Write all records with their history as JSON Lines, or the points of series as CSV or Parquet.

    JSON Lines keep both times, who and why, and encrypted values as they are. `rstore import` restores all of it bit
    for bit. With a key, the file also has the values in clear, for people: export without the key to leave them out.

    Example: rstore export app.jsonl.gz
    """
    from rstore import transfer

    written = format_of_name(file, form) or "jsonl"
    stdout: Any = sys.stdout.buffer if written == "parquet" else sys.stdout
    target = stdout if file == "-" else file
    if written == "jsonl":
        advice = f"name the file {', '.join(TABLE_SUFFIXES)}, or say --format csv or --format parquet"
        check_usage(not series, f"--series is for tables, and JSON Lines hold everything: {advice}")
        with reported("records") as report:
            _show(session, _DIGEST, transfer.export(session.store, target, report), file)
    else:
        with reported("points") as report:
            count = transfer.export_points(session.store, _known_series(session, series), target, written, report)
        _show(session, _POINTS, (count,), file)


@command(app, TRANSFER, "import", access=Access.IMPORT)
def import_(
    session: Session,
    file: Annotated[str, typer.Argument(help="A file; - is standard input.", show_default=False, callback=_existing)],
    form: Format = None,
    *,
    points: PointOptions,
    table: FormatOptions,
) -> None:
    """Read JSON Lines that `rstore export` has written into an empty namespace, or a table of points as series.

    A CSV or Parquet table has a column of times, ints or dates (UTC if they do not say it), and columns of values. Each
    column of values becomes a series; with --rows all of them become one. At the end the command shows how many rows
    and points there were, and how many points replaced others. It also counts empty cells, and texts among numbers. If
    it is interrupted, call it again: it goes on.

    Example: rstore import weather.csv --time date --column temp_max --series seattle
    """
    from rstore import transfer

    with source_of(file, form) as source:
        if source.format != "jsonl":
            _import_table(session, source.file, source.format, points, table)
            return
        check_usage(
            not any((*astuple(points), *astuple(table))),
            "these options are for tables, CSV or Parquet, and the file is JSON Lines (--format says otherwise)",
        )
        with reported("records") as report:
            session.out.rows(_DIGEST, [transfer.load(session.store, source.file, report)])


def _import_table(
    session: Session, file: Any, form: Literal["csv", "parquet"], points: PointOptions, table: FormatOptions
) -> None:
    from rstore import transfer

    check_usage(points.duplicates in (None, "last"), f"--duplicates is last, not {points.duplicates!r}")
    with reported("points") as report:
        done = transfer.import_points(
            session.store,
            file,
            form,
            key=points.series,
            time=points.time,
            columns=table.names(points.column),
            key_column=points.key_column,
            rows=points.rows,
            unit=points.unit,
            duplicates="refuse" if points.duplicates is None else "last",
            strict=points.strict,
            options=table.table_options(),
            progress=report,
        )
    session.out.rows(_IMPORTED, [astuple(done)[:-1]])
    if done.twice:
        session.out.note(
            f"{done.twice} times came twice, because clocks were put back in {table.zone}: the first row of each is "
            "taken for the first, one that repeats or goes back for the second"
        )


@command(app, TRANSFER, access=Access.NONE)
def copy(
    session: Session,
    source: Annotated[str, typer.Argument(help="The store to copy: a file, postgresql://..., ...", show_default=False)],
    target: Annotated[
        str, typer.Argument(help="The store to copy into. The namespace is empty there.", show_default=False)
    ],
    to_namespace: Annotated[
        str | None, typer.Option("--to-namespace", help="The namespace in the target, if it has another name.")
    ] = None,
    to_key_file: Annotated[
        str | None, typer.Option("--to-key-file", help="The keys of the target, if they differ [RSTORE_TO_KEY].")
    ] = None,
) -> None:
    """Copy a namespace with all its history to another backend, and compare both.

    If it is interrupted, call it again: it goes on. If namespace and keys are the same, payloads are copied unopened.

    Example: rstore copy app.db postgresql://user@host/db --namespace orders
    """
    from rstore import transfer

    here = session.target.with_keys()
    there = here.elsewhere(to_namespace, to_key_file)
    old, new = here.store_at(source, frozen=True), there.store_at(target, frozen=False)
    with old, reported("records") as report:
        session.out.rows(_DIGEST, [transfer.copy(old, new, progress=report)])


@command(app, TRANSFER)
def backup(session: Session, file: Annotated[Path, typer.Argument(help="A new file.", show_default=False)]) -> None:
    """Copy a SQLite store into a file. Others may write to it meanwhile.

    Example: rstore backup /backups/app.db
    """
    with reported("pages") as report:
        session.store.backup(file, report)


@command(app, TRANSFER)
def check(session: Session) -> None:
    """Read every record, and show each problem; exit with 1 if there is one.

    Example: rstore check --key-file app.key
    """
    from rstore.admin.check import check as check_store

    columns = [Column("kind", TEXT, "dim"), Column("key", TEXT, "yellow"), Column("version", COUNT), Column("problem")]
    with reported("records") as report:
        problems = check_store(session.store, report)
        count = session.out.rows(columns, (each._replace(message=translated(each.message)) for each in problems))
    if count:
        session.out.flush()
        raise typer.Exit(NEGATIVE)


@command(app, TRANSFER, "new-key", access=Access.NONE)
def new_key_(session: Session) -> None:
    """Print a new key. Keep it in a file that nobody else can read.

    Example: (umask 077; rstore new-key > app.key)
    """
    session.out.line(new_key())


@command(app, TRANSFER, access=Access.NONE)
def shell(session: Session, write: Annotated[bool, typer.Option("--write", help="Let it write.")] = False) -> None:
    """Open Python, or IPython if it is installed, with the store as `s`.

    Example: rstore shell --dsn app.db
    """
    with session.target.store(frozen=not write) as store:
        names = {"s": store}
        session.out.note(f"s is {store!r}")
        try:
            from IPython import start_ipython
        except ModuleNotFoundError:
            code.interact("", local=names, exitmsg="")
        else:
            start_ipython(argv=["--no-banner", "--no-confirm-exit"], user_ns=names)


def _known_series(session: Session, keys: list[str] | None) -> list[str]:
    known = session.store.timeseries()
    missing = sorted(set(keys or ()).difference(known))
    if missing or not known:
        raise CommandError(f"there is no series {', '.join(map(repr, missing))}" if missing else "there are no series")
    return keys or known


def _show(session: Session, columns: Sequence[Column], row: Sequence[Any], file: str) -> None:
    """Print a summary, unless the exported data goes to standard output, too."""
    if file != "-":
        session.out.rows(columns, [row])

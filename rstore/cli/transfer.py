"""Commands that move what is stored, and that care for it."""

from __future__ import annotations

import code
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from rstore.cli.command import MOVE, Access, Session, check_usage, command
from rstore.cli.exit_codes import NEGATIVE, Refusal
from rstore.cli.formats import Written, said_or_named, source_of
from rstore.cli.output import COUNT, TEXT, Column
from rstore.cli.progress import reported
from rstore.store import new_key

app = typer.Typer()

Formatted = Annotated[
    str | None,
    typer.Option("--format", "-f", help="jsonl, csv or parquet, if the file does not say it."),
]

_DIGEST: Final = [Column("records", COUNT), Column("digest")]
_POINTS: Final = [Column("points", COUNT)]
_IMPORTED: Final = [Column(name, COUNT) for name in ("rows", "points", "replaced", "not_points", "texts_among_numbers")]


def _written_as(*names: str, help: str) -> Any:  # noqa: A002  # it is typer's name for it
    return typer.Option(*names, help=help, rich_help_panel="How a table is written")


def _found(file: str) -> str:
    """Return the name of a file that is there: otherwise no store is to be made for it."""
    if file != "-":
        Path(file).stat()
    return file


@command(app, MOVE)
def export(
    session: Session,
    file: Annotated[str, typer.Argument(help="A file; - is standard output.")] = "-",
    form: Formatted = None,
    series: Annotated[
        list[str] | None,
        typer.Option("--series", "-s", help="Of a table: one series. May be repeated; else all."),
    ] = None,
) -> None:
    """Write all records with all that belongs to them as JSON Lines, or the points of series as CSV or Parquet.

    JSON Lines keep both times, who and why, and what is encrypted as it is; import brings all of it back bit for bit.
    With a key, values are written in clear beside, for people: export without the key to write none.

    Example: rstore export app.jsonl.gz
    """
    from rstore import transfer

    written = said_or_named(file, form) or "jsonl"
    target = _standard(sys.stdout, written) if file == "-" else file
    if written == "jsonl":
        check_usage(not series, "--series is for tables, CSV or Parquet: JSON Lines hold everything")
        with reported("records") as told:
            found = transfer.export(session.store, target, told)
        _show(session, _DIGEST, (found.records, found.sha), file)
    else:
        with reported("points") as told:
            count = transfer.export_points(session.store, _series(session, series), target, written, told)
        _show(session, _POINTS, (count,), file)


@command(app, MOVE, "import", access=Access.IMPORT)
def import_(
    session: Session,
    file: Annotated[str, typer.Argument(help="A file; - is standard input.", show_default=False, callback=_found)],
    form: Formatted = None,
    series: Annotated[
        str | None,
        typer.Option("--series", "-s", help="Of a table: the key, or what comes before its columns."),
    ] = None,
    time: Annotated[str | None, typer.Option("--time", "-t", help="Of a table: the column of times.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", "-c", help="Of a table: a column of values. May be repeated; else all."),
    ] = None,
    key_column: Annotated[
        str | None, typer.Option("--key-column", "-k", help="Of a table: make a series for each value of this column.")
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Of a table: make one series, whose values are the rows.")
    ] = False,
    unit: Annotated[
        str | None,
        typer.Option("--unit", "-u", help="Of a table: count dates in s, ms, us or ns; else in ms, or as the series."),
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(
            "--duplicates", help="last: of several rows of one time in a series the last counts; else they are refused."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse what would replace points, is no point, or a text among numbers."),
    ] = False,
    zone: Annotated[
        str | None, _written_as("--zone", help="The time zone of times without an offset: Europe/Berlin.")
    ] = None,
    date_format: Annotated[
        str | None, _written_as("--date-format", help="How times are written: '%m/%d/%Y %H:%M'.")
    ] = None,
    decimal: Annotated[str | None, _written_as("--decimal", help="What decimals begin with: . or ,")] = None,
    thousands: Annotated[str | None, _written_as("--thousands", help="What groups the digits of numbers.")] = None,
    null: Annotated[
        list[str] | None, _written_as("--null", help="A text that is no point. May be repeated; else NA and the like.")
    ] = None,
    text: Annotated[
        list[str] | None, _written_as("--text", help="A column whose cells stay texts. May be repeated.")
    ] = None,
    delimiter: Annotated[str | None, _written_as("--delimiter", help="What is between cells.")] = None,
    no_header: Annotated[bool, _written_as("--no-header", help="The first row is data: --columns has names.")] = False,
    columns: Annotated[
        str | None, _written_as("--columns", help="With --no-header: the names of all columns: time,low,high")
    ] = None,
) -> None:
    """Read JSON Lines that `rstore export` has written into an empty namespace, or a table of points as series.

    A CSV or Parquet table has a column of times, ints or dates (UTC if they do not say it), and columns of values, each
    of which becomes a series; or with --rows all of them one. Afterwards it tells how many rows and points there were,
    how many of these replaced others, and how many cells are no points, or texts among numbers. Interrupted, it goes on
    when it is called again.

    Example: rstore import weather.csv --time date --column temp_max --series seattle
    """
    from rstore import transfer

    check_usage(no_header == (columns is not None), "--no-header and --columns go together; --column chooses some")
    check_usage(not (no_header and column), "without a header --columns names all columns: leave out --column")
    check_usage(duplicates in (None, "last"), f"--duplicates is last, not {duplicates!r}")
    options = transfer.TableOptions(
        delimiter="\t" if delimiter == "\\t" else delimiter,
        header=not no_header,
        decimal=decimal,
        thousands=thousands,
        null=null or None,
        text=text or (),
        date_format=date_format,
        zone=zone,
    )
    with source_of(file, form) as (source, written):
        if written == "jsonl":
            given = series, time, column, key_column, rows, unit, duplicates, strict
            check_usage(
                not any(given) and options == transfer.TableOptions(),
                "these options are for tables, CSV or Parquet, and the file is JSON Lines (--format says otherwise)",
            )
            with reported("records") as told:
                found = transfer.load(session.store, source, told)
            session.out.rows(_DIGEST, [(found.records, found.sha)])
            return
        with reported("points") as told:
            done = transfer.import_points(
                session.store,
                source,
                written,
                key=series,
                time=time,
                columns=columns.split(",") if columns else column or None,
                key_column=key_column,
                rows=rows,
                unit=unit,
                duplicates="refuse" if duplicates is None else "last",
                strict=strict,
                options=options,
                progress=told,
            )
        session.out.rows(
            _IMPORTED, [(done.rows, done.points, done.replaced, done.not_points, done.texts_among_numbers)]
        )
        if done.twice:
            session.out.note(
                f"{done.twice} times came twice, because clocks were put back in {zone}: the first row of each is "
                "taken for the first, one that repeats or goes back for the second"
            )


@command(app, MOVE, access=Access.NONE)
def copy(
    session: Session,
    source: Annotated[str, typer.Argument(help="Where it is: a file, postgresql://..., ...", show_default=False)],
    target: Annotated[str, typer.Argument(help="Where it goes to, which is empty there.", show_default=False)],
    to_namespace: Annotated[
        str | None, typer.Option("--to-namespace", help="Its name there, if it is another.")
    ] = None,
    to_key_file: Annotated[
        str | None, typer.Option("--to-key-file", help="The keys there, if they are others [RSTORE_TO_KEY].")
    ] = None,
) -> None:
    """Copy a namespace with all its history to another backend, and compare both.

    Interrupted at any moment, it goes on when it is called again. Payloads are copied unopened where namespace and keys
    are the same.

    Example: rstore copy app.db postgresql://user@host/db --namespace orders
    """
    from rstore import transfer

    here = session.place.with_keys()
    there = here.elsewhere(to_namespace, to_key_file)
    old, new = here.store_at(source, frozen=True), there.store_at(target, frozen=False)
    with old, reported("records") as told:
        found = transfer.copy(old, new, progress=told)
    session.out.rows(_DIGEST, [(found.records, found.sha)])


@command(app, MOVE)
def backup(session: Session, file: Annotated[Path, typer.Argument(help="A new file.", show_default=False)]) -> None:
    """Copy a SQLite store into a file, also while it is written to.

    Example: rstore backup /backups/app.db
    """
    with reported("pages") as told:
        session.store.backup(file, told)


@command(app, MOVE)
def check(session: Session) -> None:
    """Read every record, and tell what is wrong with any; exit with 1 if something is.

    Example: rstore check --key-file app.key
    """
    from rstore.admin.check import check as look

    columns = [Column("kind", TEXT, "dim"), Column("key", TEXT, "yellow"), Column("version", COUNT), Column("problem")]
    with reported("records") as told:
        count = session.out.rows(columns, look(session.store, told))
    if count:
        session.out.flush()
        raise typer.Exit(NEGATIVE)


@command(app, MOVE, "new-key", access=Access.NONE)
def new_key_(session: Session) -> None:
    """Print a new key, to be kept in a file that nobody else can read.

    Example: (umask 077; rstore new-key > app.key)
    """
    session.out.line(new_key())


@command(app, MOVE, access=Access.NONE)
def shell(session: Session, write: Annotated[bool, typer.Option("--write", help="Let it write.")] = False) -> None:
    """Open Python, or IPython if there is one, with the store as `s`.

    Example: rstore shell --dsn app.db
    """
    with session.place.store(frozen=not write) as store:
        names = {"s": store}
        session.out.note(f"s is {store!r}")
        try:
            from IPython import start_ipython
        except ModuleNotFoundError:
            code.interact("", local=names, exitmsg="")
        else:
            start_ipython(argv=["--no-banner", "--no-confirm-exit"], user_ns=names)


def _standard(stream: TextIO, written: Written) -> Any:
    return stream.buffer if written == "parquet" else stream


def _series(session: Session, keys: list[str] | None) -> list[str]:
    known = session.store.timeseries()
    missing = sorted(set(keys or ()).difference(known))
    if missing or not known:
        raise Refusal(f"there is no series {', '.join(map(repr, missing))}" if missing else "there are no series")
    return keys or known


def _show(session: Session, columns: Sequence[Column], row: Sequence[Any], file: str) -> None:
    """Show what was done, unless that would get among what was exported."""
    if file != "-":
        session.out.rows(columns, [row])

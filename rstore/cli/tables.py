"""The options of ``rstore import`` for tables: which cells become points, and how the table is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import asdict, frozen

from rstore.cli.exit_codes import check_usage
from rstore.cli.options import flag, option

if TYPE_CHECKING:
    from rstore.transfer import TableOptions

_PANEL: Final = "How a table is written"
_COLUMN_HELP: Final = "Of a table: a column of values. May be repeated; otherwise all."
_UNIT_HELP: Final = "Of a table: count dates in s, ms, us or ns; otherwise in ms, or as the series."
_DUPLICATES_HELP: Final = "last: the last of several rows of one time in a series counts; otherwise they are refused."
_NULL_HELP: Final = "A text that means an empty cell. May be repeated; otherwise NA and the like."


@frozen
class PointOptions:
    """Which cells of a table become points, and of which series."""

    series: str | None = option(
        "--series", "-s", help="Of a table: the key, or the prefix of the keys of several series."
    )
    time: str | None = option("--time", "-t", help="Of a table: the column of times.")
    column: list[str] | None = option("--column", "-c", help=_COLUMN_HELP)
    key_column: str | None = option(
        "--key-column", "-k", help="Of a table: make a series for each value of this column."
    )
    rows: bool = flag("--rows", help="Of a table: make a single series, whose values are the rows.")
    unit: str | None = option("--unit", "-u", help=_UNIT_HELP)
    duplicates: str | None = option("--duplicates", help=_DUPLICATES_HELP)
    strict: bool = flag("--strict", help="Refuse rows that replace points, empty cells, and texts among numbers.")


@frozen
class FormatOptions:
    """How a table is written, where the table itself does not show it."""

    zone: str | None = option("--zone", help="The time zone of times without an offset: Europe/Berlin.", panel=_PANEL)
    date_format: str | None = option("--date-format", help="How times are written: '%m/%d/%Y %H:%M'.", panel=_PANEL)
    decimal: str | None = option("--decimal", help="The decimal mark: . or ,", panel=_PANEL)
    thousands: str | None = option("--thousands", help="The mark between groups of three digits.", panel=_PANEL)
    null: list[str] | None = option("--null", help=_NULL_HELP, panel=_PANEL)
    text: list[str] | None = option("--text", help="A column whose cells stay texts. May be repeated.", panel=_PANEL)
    delimiter: str | None = option("--delimiter", help="The character between cells.", panel=_PANEL)
    no_header: bool = flag("--no-header", help="The first row is data: --columns names the columns.", panel=_PANEL)
    columns: str | None = option("--columns", help="With --no-header: all columns: time,low,high", panel=_PANEL)

    def names(self, chosen: list[str] | None) -> list[str] | None:
        """Return the columns to import: those of ``--columns``, or those that were chosen, or None for all."""
        go_together = self.no_header == (self.columns is not None)
        check_usage(go_together, "--no-header and --columns go together; --column chooses some")
        check_usage(not (self.no_header and chosen), "without a header --columns names all columns: leave out --column")
        return self.columns.split(",") if self.columns else chosen or None

    def table_options(self) -> TableOptions:
        """Return the options as the library takes them."""
        from rstore.transfer import TableOptions

        given = asdict(self, filter=lambda field, _: field.name not in ("no_header", "columns"))
        given |= {"header": not self.no_header, "null": self.null or None, "text": self.text or ()}
        return TableOptions(**given | {"delimiter": "\t" if self.delimiter == "\\t" else self.delimiter})

"""What commands print: JSON lines for programs, tables on a terminal, and lines with tabs elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TextIO

from attrs import field, frozen

from rstore.cli.times import show_time, write_time
from rstore.cli.values import show_text, show_value, to_json, write_json
from rstore.domain.paging import pages

_PAGE: Final = 500
"""Rows of a table on a terminal that are laid out together: what is longer begins a new one below."""


class Form(NamedTuple):
    """How something is shown: on a terminal, in a line with tabs, and in JSON. None is shown as nothing.

    ``layout`` is what rich is to know of such a column.
    """

    seen: Callable[[Any], str]
    plain: Callable[[Any], str]
    json: Callable[[Any], Any]
    layout: Mapping[str, Any] = {}


TEXT: Final = Form(show_text, show_text, lambda text: text)
VALUE: Final = Form(show_value, show_value, to_json)
MOMENT: Final = Form(show_time, write_time, lambda time: time, {"no_wrap": True})
"""Of a time in POSIX milliseconds, which is what JSON gets."""
COUNT: Final = Form(lambda count: f"{count:,}", str, lambda count: count, {"justify": "right"})


class Column(NamedTuple):
    """A column: the name of what stands in it, how that is shown, and in which style of rich's on a terminal."""

    name: str
    form: Form = TEXT
    style: str = ""


@frozen
class Output:
    """Where a command prints to, and in which of three ways."""

    json: bool = False
    file: TextIO = field(factory=lambda: sys.stdout)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody is looking: then there are colours and columns."""
        return not self.json and self.file.isatty()

    @property
    def has_colours(self) -> bool:
        """Whether colours may be printed past rich, which decides in the same way."""
        return self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")

    def rows(self, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> int:
        """Print rows of so many columns, as they come, and return how many there were."""
        if self.is_terminal:
            return self._table(columns, iter(rows))
        write = self._json_row if self.json else self._plain_row
        count = 0
        for count, row in enumerate(rows, 1):  # noqa: B007  # it is returned
            write(columns, row)
        return count

    def line(self, text: str, style: str = "") -> None:
        """Print a line of text, which is styled on a terminal. It may hold what is stored."""
        if not (style and self.is_terminal):
            print(text, file=self.file)
            return
        self._console().print(_styled(text, style))

    def json_line(self, value: Any) -> None:
        """Print a value, which JSON can hold, as a line of it."""
        print(write_json(value), file=self.file)

    def note(self, text: str) -> None:
        """Tell a person something that is no part of what the command prints."""
        self.file.flush()
        print(text, file=sys.stderr)

    def flush(self) -> None:
        """Let whoever reads see all that was printed."""
        self.file.flush()

    def _json_row(self, columns: Sequence[Column], row: Sequence[Any]) -> None:
        pairs = zip(columns, row, strict=True)
        self.json_line(
            {
                column.name: None if cell is None and column.form is not VALUE else column.form.json(cell)
                for column, cell in pairs
            }
        )

    def _plain_row(self, columns: Sequence[Column], row: Sequence[Any]) -> None:
        cells = (_cell(column, cell, column.form.plain) for column, cell in zip(columns, row, strict=True))
        print("\t".join(cells), file=self.file)

    def _table(self, columns: Sequence[Column], rows: Iterator[Sequence[Any]]) -> int:
        count = 0
        for page in pages(rows, _PAGE):
            self._console().print(_laid_out(columns, page))
            count += len(page)
        return count

    def _console(self) -> Any:
        from rich.console import Console

        return Console(file=self.file, highlight=False, soft_wrap=False)


def _laid_out(columns: Sequence[Column], page: Sequence[Sequence[Any]]) -> Any:
    """Return a table of rich's, without the columns in which nothing stands: a terminal is only so wide."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    cells = [[_cell(column, row[i], column.form.seen) for row in page] for i, column in enumerate(columns)]
    used = [i for i in range(len(columns)) if any(cells[i])]
    for i in used:
        table.add_column(columns[i].name, style=columns[i].style, overflow="fold", **columns[i].form.layout)
    for row in zip(*(cells[i] for i in used), strict=True):
        table.add_row(*(_styled(cell) for cell in row))
    return table


def _cell(column: Column, cell: Any, show: Callable[[Any], str]) -> str:
    return "" if cell is None and column.form is not VALUE else show(cell)


def _styled(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(text, style)  # never markup: what is stored may look like it

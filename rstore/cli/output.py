"""The output of commands: JSON lines for programs, tables on a terminal, and lines with tabs elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TextIO

from attrs import field, frozen

from rstore.domain.paging import pages
from rstore.text.times import show_time, write_time
from rstore.text.values import show_text, show_value, to_json, write_json

_PAGE: Final = 500
"""The rows of one table on a terminal. Longer output continues in a new table below."""


class Form(NamedTuple):
    """How a cell is shown: on a terminal, in a line with tabs, and in JSON. None is shown as an empty cell.

    ``layout`` is passed to rich for such a column.
    """

    terminal: Callable[[Any], str]
    plain: Callable[[Any], str]
    json: Callable[[Any], Any]
    layout: Mapping[str, Any] = {}


TEXT: Final = Form(show_text, show_text, lambda text: text)
VALUE: Final = Form(show_value, show_value, to_json)
MOMENT: Final = Form(show_time, write_time, lambda time: time, {"no_wrap": True})
"""The form of a time in POSIX milliseconds. JSON gets the number."""
COUNT: Final = Form(lambda count: f"{count:,}", str, lambda count: count, {"justify": "right"})


class Column(NamedTuple):
    """A column: its name, the form of its cells, and their style (of rich) on a terminal."""

    name: str
    form: Form = TEXT
    style: str = ""


@frozen
class Output:
    """Where a command prints to, and in which of the three ways."""

    json: bool = False
    file: TextIO = field(factory=lambda: sys.stdout)

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking: then there are colours and columns."""
        return not self.json and self.file.isatty()

    @property
    def has_colours(self) -> bool:
        """Whether output that bypasses rich may have colours. Rich decides in the same way."""
        return self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")

    def rows(self, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> int:
        """Print rows as they come, and return how many there were."""
        if self.is_terminal:
            return self._table(columns, iter(rows))
        write = self._json_row if self.json else self._plain_row
        count = 0
        for count, row in enumerate(rows, 1):  # noqa: B007  # it is returned
            write(columns, row)
        return count

    def line(self, text: str, style: str = "") -> None:
        """Print a line of text, styled on a terminal. The text may contain stored values."""
        if not (style and self.is_terminal):
            print(text, file=self.file)
            return
        self._console().print(_styled(text, style))

    def json_line(self, value: Any) -> None:
        """Print a value that JSON can represent as one line of JSON."""
        print(write_json(value), file=self.file)

    def note(self, text: str) -> None:
        """Print a remark for a person, which is not part of the output, on standard error."""
        self.file.flush()
        print(text, file=sys.stderr)

    def flush(self) -> None:
        """Flush the output, so that its reader sees all of it now."""
        self.file.flush()

    def _json_row(self, columns: Sequence[Column], row: Sequence[Any]) -> None:
        pairs = zip(columns, row, strict=True)
        self.json_line({column.name: _cell(column, cell, column.form.json, empty=None) for column, cell in pairs})

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
    """Return a table of rich without its empty columns, since a terminal has little room."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    cells = [[_cell(column, row[i], column.form.terminal) for row in page] for i, column in enumerate(columns)]
    used = [i for i in range(len(columns)) if any(cells[i])]
    for i in used:
        table.add_column(columns[i].name, style=columns[i].style, overflow="fold", **columns[i].form.layout)
    for row in zip(*(cells[i] for i in used), strict=True):
        table.add_row(*(_styled(cell) for cell in row))
    return table


def _cell(column: Column, cell: Any, show: Callable[[Any], Any], empty: str | None = "") -> Any:
    """Return a cell as it is shown. None is a value like any other only in a column of values."""
    return empty if cell is None and column.form is not VALUE else show(cell)


def _styled(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(text, style)  # never markup: a stored value may look like it

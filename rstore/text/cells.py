"""The cells of tables as texts: of a query's result, in the command and in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rstore.text.values import is_json, represented, show_text


def show_cell(cell: Any) -> str:
    r"""Return a cell in one line, without control characters.

    >>> show_cell('a\nb'), show_cell(True), show_cell([1])
    ('a\\nb', 'true', '[1]')
    """
    return show_text(cell if isinstance(cell, str) else text_of(cell))


def text_of(cell: Any) -> str:
    """Return a cell that is no text as one."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if hasattr(cell, "isoformat"):
        return str(cell.isoformat())
    return represented(cell) if isinstance(cell, bytes | list | dict | tuple) else str(cell)


def cell_to_json(cell: Any) -> Any:
    """Return a cell if JSON can represent it, else as a text."""
    return cell if is_json(cell) else text_of(cell)


def row_of_csv(row: Sequence[Any]) -> list[Any]:
    """Return a row as a writer of CSV takes it."""
    return [cell if cell is None or isinstance(cell, str | int | float) else text_of(cell) for cell in row]

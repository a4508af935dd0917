"""The page that asks in SQL, at any time: the result as a table, a plot, CSV or JSON."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

from attrs import frozen

from rstore.html import counted
from rstore.text.cells import cell_to_json, row_of_csv, show_cell
from rstore.web.asked import Asked
from rstore.web.download import Download
from rstore.web.plot import Plot, drawn_of
from rstore.web.timing import Timing, timing_of_namespace
from rstore.web.values import short

_ROWS: Final = 500
_DRAWN: Final = 4_000
_SERIES: Final = 30
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)

TABLES: Final[Mapping[str, str]] = {
    "kv": "key, value, recorded, version, who, why",
    "points": "key, t, value",
    "events": "key, t, item, op, value, recorded, who, why, did",
    "states": "key, item, value",
    "changes": (
        "recorded, timestamp, item, op, value, who, why, version, kind, key, more, did, arguments, commit, until"
    ),
    "commits": "id, recorded, who, why, did, arguments, more, changes",
}
"""The tables, and the columns of each."""

EXAMPLES: Final = (
    "SELECT kind, count(*) AS changes, max(recorded) AS newest FROM changes GROUP BY kind",
    "SELECT who, did, count(*) AS commits FROM commits GROUP BY ALL ORDER BY commits DESC",
    "SELECT date_trunc('hour', recorded) AS hour, count(*) AS changes FROM changes GROUP BY hour ORDER BY hour",
    "SELECT item, value, count(*) AS sequences FROM states GROUP BY ALL ORDER BY sequences DESC LIMIT 20",
)


@frozen
class Answer:
    """The answer to a query.

    Attributes:
        query: the query; empty if there is none yet.
        columns: the names of the columns.
        rows: the first 500 rows, each cell as JSON can represent it.
        count: the number of all rows.
        unreadable: how many values could not be loaded, and are NULL.
        problem: why there is no answer; empty if there is one.
        plot: the first 4,000 rows, if the first column is a time or a number, and others are numbers.
        series: the names of some series.
    """

    query: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    count: int
    unreadable: int
    problem: str
    plot: Plot | None
    series: Sequence[str]
    timing: Timing
    tables: Mapping[str, str] = TABLES
    examples: Sequence[str] = EXAMPLES

    @property
    def status(self) -> HTTPStatus:
        """The status of the answer."""
        return HTTPStatus.BAD_REQUEST if self.problem else HTTPStatus.OK

    @property
    def counted(self) -> str:
        """The number of rows, in words."""
        return counted(self.count, "row")

    @property
    def lost(self) -> str:
        """The number of values that could not be loaded, in words."""
        return counted(self.unreadable, "value")

    def cell(self, cell: Any) -> str:
        """Return a cell in one line."""
        return "" if cell is None else short(show_cell(cell))


def page(asked: Asked) -> Answer | Download:
    """Return the model of the page, or with ``format=csv`` the rows as a file."""
    query, timing = asked.query.get("q", "").strip(), timing_of_namespace(asked)
    series = list(islice(asked.view.timeseries(), _SERIES))
    if not query:
        return Answer("", [], [], 0, 0, "", None, series, timing)
    try:
        result = asked.view.sql(query)
    except ValueError as exc:
        return Answer(query, [], [], 0, 0, str(exc), None, series, timing)
    if asked.query.get("format") == "csv":
        return Download("result.csv", "text/csv", _as_csv(result))
    rows = [[cell_to_json(cell) for cell in row] for row in islice(result, _ROWS)]
    plot = _plot_of(result.columns, list(islice(result, _DRAWN)))
    return Answer(query, result.columns, rows, len(result), result.unreadable, "", plot, series, timing)


def _as_csv(result: Any) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(result.columns)
    writer.writerows(map(row_of_csv, result))
    return file.getvalue()


def _plot_of(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Plot | None:
    """Return rows as a plot, if they can be drawn: over the first column, in its order."""
    rows = [row for row in rows if row[0] is not None]
    if len(rows) < 2 or len(names) < 2:
        return None
    if all(isinstance(row[0], datetime.datetime | datetime.date) for row in rows):
        unit, per_second, times = "us", 1_000_000, [_microseconds(row[0]) for row in rows]
    elif all(isinstance(row[0], int) and not isinstance(row[0], bool) for row in rows):
        unit, per_second, times = None, 1, [row[0] for row in rows]
    else:
        return None
    order = sorted(range(len(rows)), key=times.__getitem__)
    columns = {name: [rows[place][number] for place in order] for number, name in enumerate(names) if number}
    times = [times[place] for place in order]
    plot = drawn_of(unit, per_second, times, columns)
    return plot if plot.lines and plot.start < plot.end else None


def _microseconds(time: datetime.date) -> int:
    """Return a date or a time of a query, which is in UTC."""
    if not isinstance(time, datetime.datetime):
        time = datetime.datetime.combine(time, datetime.time())
    return (time.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND

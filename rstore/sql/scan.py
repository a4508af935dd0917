"""A table as DuckDB sees it: a dataset of Arrow, of which it requests columns and rows while it runs a query."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from rstore.sql.kinds import NOTHING, Kind, Values, array_of, joint, kind_of
from rstore.sql.pushed import Pushed, pushed_by
from rstore.sql.tables import Chunk, Table

_ROW: Final = "row"
_LEAST: Final = 2048


class Request(NamedTuple):
    """The filter of a scan: as far as it is understood, and as an expression of Arrow."""

    pushed: Pushed
    expression: Any


class Mode(Enum):
    """The ways in which a table answers a scan."""

    READ = "it reads rows"
    PROBE = "it has no rows, and notes the requests"
    UNFORESEEN = "it fails: the types of its values are not known yet"


class UnforeseenError(Exception):
    """A table is read that an attempt without rows did not read."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class Scan(ds.Dataset):  # type: ignore[misc]  # pyarrow has no types
    """A table of a query. DuckDB calls ``scanner`` for each time that the query names it.

    Attributes:
        requests: one for each call of ``scanner``.
        failed: the error of a read.
    """

    def __init__(self, table: Table, mode: Mode) -> None:
        self._table, self._kinds, self._mode = table, dict(table.columns), mode
        self.requests: list[Request] = []
        self.failed: BaseException | None = None

    @property
    def schema(self) -> Any:
        """The columns."""
        return pa.schema([(name, kind.type) for name, kind in self._kinds.items()])

    def scanner(self, columns: list[str] | None = None, filter: Any = None, **_: Any) -> _Reader:  # noqa: A002
        """Return a reader of some columns, of the rows that a filter lets through."""
        names = list(self._kinds) if columns is None else columns
        schema = pa.schema([(name, self._kinds[name].type) for name in names])
        request = Request(pushed_by(filter), filter)
        self.requests.append(request)
        batches = iter(()) if self._mode is Mode.PROBE else _combined(self._batches(names, request, schema))
        return _Reader(pa.RecordBatchReader.from_batches(schema, self._watched(batches)))

    def _watched(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches, and keep the error of a read, of which DuckDB keeps only the text."""
        try:
            yield from batches
        except (Exception, KeyboardInterrupt) as exc:
            self.failed = exc
            raise

    def _batches(self, names: list[str], request: Request, schema: Any) -> Iterator[Any]:
        if self._mode is Mode.UNFORESEEN:
            raise UnforeseenError(request)
        for chunk, rows in filtered_chunks(self._table, self._kinds, request, names):
            cells = [array_of(name, _cells(chunk, name, rows), self._kinds[name]) for name in names]
            yield pa.RecordBatch.from_arrays(cells, schema=schema)


class _Reader(NamedTuple):
    """Stands in for a scanner of Arrow, which would read ahead in threads of its own. DuckDB needs no more of it."""

    reader: Any

    @property
    def projected_schema(self) -> Any:
        """The columns of the batches."""
        return self.reader.schema

    def to_reader(self) -> Any:
        """Return the batches."""
        return self.reader


def _combined(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield batches, and combine small ones. The first one stays small, since a query with a LIMIT may need no more."""
    yield from islice(batches, 1)
    waiting, rows = [], 0
    for batch in batches:
        waiting.append(batch)
        rows += len(batch)
        if rows >= _LEAST:
            yield from _as_one(waiting)
            waiting, rows = [], 0
    yield from _as_one(waiting)


def _as_one(batches: list[Any]) -> list[Any]:
    return batches if len(batches) < 2 else pa.Table.from_batches(batches).combine_chunks().to_batches()


def filtered_chunks(
    table: Table, kinds: Mapping[str, Kind], request: Request, names: Collection[str]
) -> Iterator[tuple[Chunk, Any]]:
    """Yield the chunks of a table, with the numbers of the rows that the filter lets through; None for all rows.

    The filter needs the kinds that DuckDB knows. A column of which it knows none has the kind of its values.
    """
    needed = kinds.keys() if request.pushed.columns is None else request.pushed.columns
    for chunk in table.chunks(request.pushed, {*names, *needed}):
        if request.expression is None:
            yield chunk, None
            continue
        size = len(next(iter(chunk.values())))
        cells = {name: _cells(chunk, name, None) for name in needed}
        arrays = [array_of(name, each, _kind_in(kinds[name], each)) for name, each in cells.items()]
        batch = pa.RecordBatch.from_arrays([*arrays, pa.array(np.arange(size))], [*cells, _ROW])
        rows = batch.filter(request.expression).column(len(arrays))
        if len(rows):
            yield chunk, None if len(rows) == size else rows


def _kind_in(kind: Kind, values: Values) -> Kind:
    return kind_of(values) if kind == NOTHING else kind


def _cells(chunk: Chunk, name: str, rows: Any) -> Values:
    """Return the cells of a column in some rows. A column that a chunk does not have is NULL."""
    values = chunk.get(name)
    if values is None:
        return pa.nulls(len(next(iter(chunk.values()))) if rows is None else len(rows))
    if rows is None:
        return values
    return [values[row] for row in rows.to_pylist()] if isinstance(values, list) else values.take(rows)


def peek(table: Table, request: Request, names: Collection[str]) -> dict[str, Kind]:
    """Return the kinds of columns, as the first values that a filter lets through tell them."""
    kinds = dict.fromkeys(names, NOTHING)
    for chunk, rows in filtered_chunks(table, table.columns, request, names):
        for name in names:
            kinds[name] = joint(kinds[name], kind_of(_cells(chunk, name, rows)))
        if NOTHING not in kinds.values():
            break
    return kinds

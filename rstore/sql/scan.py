"""A table as DuckDB sees it: a dataset of Arrow, which it asks for columns and rows when it runs a query."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds

from rstore.sql.kinds import NOTHING, Kind, Values, array_of, joint, kind_of
from rstore.sql.pushed import Pushed, pushed_by
from rstore.sql.tables import Chunk, Table

_ROW: Final = "row"
_LEAST: Final = 2048


class Asked(NamedTuple):
    """What a scan was asked for: the filter, as far as it is known, and as an expression of Arrow."""

    pushed: Pushed
    expression: Any


class Mode(Enum):
    """What a scan does."""

    READ = "it reads rows"
    PROBE = "it has no rows, and notes what it is asked for"
    UNFORESEEN = "it fails: nobody has looked yet which types its values have"


class UnforeseenError(Exception):
    """A table is read that an attempt without rows did not read."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self.asked = asked


class Scan(ds.Dataset):  # type: ignore[misc]  # pyarrow has no types
    """A table of a query. DuckDB calls ``scanner`` for each time that the query names it.

    Attributes:
        asked: what it was asked for.
        failed: the error of a read.
    """

    def __init__(self, table: Table, mode: Mode) -> None:
        self._table, self._kinds, self._mode = table, dict(table.columns), mode
        self.asked: list[Asked] = []
        self.failed: BaseException | None = None

    @property
    def schema(self) -> Any:
        """The columns."""
        return pa.schema([(name, kind.type) for name, kind in self._kinds.items()])

    def scanner(self, columns: list[str] | None = None, filter: Any = None, **_: Any) -> _Reader:  # noqa: A002
        """Return a reader of some columns, of the rows that a filter lets through."""
        names = list(self._kinds) if columns is None else columns
        schema = pa.schema([(name, self._kinds[name].type) for name in names])
        asked = Asked(pushed_by(filter), filter)
        self.asked.append(asked)
        batches = iter(()) if self._mode is Mode.PROBE else _joined(self._batches(names, asked, schema))
        return _Reader(pa.RecordBatchReader.from_batches(schema, batches))

    def _batches(self, names: list[str], asked: Asked, schema: Any) -> Iterator[Any]:
        try:
            if self._mode is Mode.UNFORESEEN:
                raise UnforeseenError(asked)
            for chunk, rows in filtered_chunks(self._table, self._kinds, asked, names):
                cells = [array_of(name, _cells(chunk, name, rows), self._kinds[name]) for name in names]
                yield pa.RecordBatch.from_arrays(cells, schema=schema)
        except (Exception, KeyboardInterrupt) as exc:  # DuckDB would show no more than its text
            self.failed = exc
            raise


class _Reader(NamedTuple):
    """What DuckDB takes for a scanner of Arrow. A real one would read ahead, in threads of its own."""

    reader: Any

    @property
    def projected_schema(self) -> Any:
        """The columns that come."""
        return self.reader.schema

    def to_reader(self) -> Any:
        """Return the batches."""
        return self.reader


def _joined(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield batches, of which small ones are put together. The first one comes as it is."""
    yield from _first(batches)
    waiting, rows = [], 0
    for batch in batches:
        waiting.append(batch)
        rows += len(batch)
        if rows >= _LEAST:
            yield from _one(waiting)
            waiting, rows = [], 0
    yield from _one(waiting)


def _first(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        yield batch
        return


def _one(batches: list[Any]) -> list[Any]:
    return batches if len(batches) < 2 else pa.Table.from_batches(batches).combine_chunks().to_batches()


def filtered_chunks(
    table: Table, kinds: Mapping[str, Kind], asked: Asked, names: Collection[str]
) -> Iterator[tuple[Chunk, Any]]:
    """Yield the chunks of a table, with the numbers of the rows that the filter lets through; None for all rows.

    The filter needs a value of the kind that DuckDB takes it for; a column of no kind yet comes as its values are.
    """
    needed = kinds.keys() if asked.pushed.columns is None else asked.pushed.columns
    for chunk in table.chunks(asked.pushed, {*names, *needed}):
        if asked.expression is None:
            yield chunk, None
            continue
        size = len(next(iter(chunk.values())))
        cells = {name: _cells(chunk, name, None) for name in needed}
        arrays = [array_of(name, each, _known(kinds[name], each)) for name, each in cells.items()]
        batch = pa.RecordBatch.from_arrays([*arrays, pa.array(range(size))], [*cells, _ROW])
        rows = batch.filter(asked.expression).column(len(arrays))
        if len(rows):
            yield chunk, None if len(rows) == size else rows


def _known(kind: Kind, values: Values) -> Kind:
    return kind_of(values) if kind == NOTHING else kind


def _cells(chunk: Chunk, name: str, rows: Any) -> Values:
    """Return the cells of a column in some rows. What a chunk does not have is NULL."""
    values = chunk.get(name)
    if values is None:
        return pa.nulls(len(next(iter(chunk.values()))) if rows is None else len(rows))
    if rows is None:
        return values
    return [values[row] for row in rows.to_pylist()] if isinstance(values, list) else values.take(rows)


def peek(table: Table, asked: Asked, names: Collection[str]) -> dict[str, Kind]:
    """Return the kinds of columns, as the first values that a filter lets through tell them."""
    found = dict.fromkeys(names, NOTHING)
    for chunk, rows in filtered_chunks(table, table.columns, asked, names):
        for name in names:
            found[name] = joint(found[name], kind_of(_cells(chunk, name, rows)))
        if NOTHING not in found.values():
            break
    return found

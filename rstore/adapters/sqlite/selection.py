"""The statement for the records of a stream that a query matches, which is composed for each query."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rstore.adapters.sqlite.statements import BARE, BY_CHAIN
from rstore.domain.log import Query
from rstore.domain.spans import ranges
from rstore.domain.streams import KV

# Along the versions: records after a version.
_BY_VERSION: Final = 'rstore_record INDEXED BY rstore_record_version WHERE stream = ? AND start <= ? AND "end" >= ?'

# The records of one level that touch a span.
_BY_SPAN: Final = (
    "rstore_record INDEXED BY rstore_record_span "
    'WHERE stream = ? AND level = ? AND start BETWEEN ? AND ? AND "end" >= ?'
)


def records(kind: str, number: int, levels: int, died: int, query: Query) -> tuple[str, list[Any]]:
    """Return the statement, and its values, for the records that a query matches, in order of ``(start, position)``.

    The stream is of that ``kind``, and ``number`` is its id; ``levels`` and ``died`` are those of its row.
    """
    start, end, item, ops, until, after, _, reverse, limit, most = query
    parts: list[tuple[int, ...]]
    chain, columns = "", BARE["columns"]
    if kind == KV:
        chain, source, parts = BY_CHAIN, 'chain WHERE start <= ? AND "end" >= ?', [(number, after, end, start)]
    elif after > 0:
        source, parts = _BY_VERSION, [(number, end, start)]
    else:  # one range of the index for each level, merged in order by SQLite
        source, parts = _BY_SPAN, [(number, level, low, end, start) for level, low in ranges(levels, start)]
    filters: list[tuple[str, Iterable[Any] | None]] = [
        ("version > ?", [query.above(died)]),
        ("item = ?", None if item is None else [item]),
        ("recorded <= ?", None if until is None else [until]),
        (f"op IN (NULL{', ?' * len(ops or ())})", ops),  # of an empty list, SQLite has no plan in a compound SELECT
    ]
    given = [(text, values) for text, values in filters if values is not None]
    if most is not None and kind != KV:  # reading.selected reads the beginning of a payload that is NULL here
        columns = columns.replace("data", f"iif(length(data) > {most:d}, NULL, data) AS data")
    each = f"SELECT {columns} FROM {source}" + "".join(f" AND {text}" for text, _ in given)
    order = "DESC" if reverse else "ASC"
    own = [value for _, values in given for value in values]
    statement = f"{chain} {' UNION ALL '.join([each] * len(parts))} ORDER BY 4 {order}, 2 {order} LIMIT ?"
    return statement, [*(value for part in parts for value in (*part, *own)), -1 if limit is None else limit]

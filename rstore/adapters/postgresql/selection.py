"""The statement for the records of a stream that a query matches, which is composed for each query."""

from __future__ import annotations

from typing import Any, Final

from rstore.adapters.postgresql.statements import columns_of
from rstore.domain.log import Query
from rstore.domain.spans import ranges
from rstore.domain.streams import KV

# Along the versions: values of a key, and records after a version.
_BY_VERSION: Final = 'WHERE stream = %s AND start <= %s AND "end" >= %s'

# The records of one level that touch a span.
_BY_SPAN: Final = 'WHERE stream = %s AND level = %s AND start BETWEEN %s AND %s AND "end" >= %s'


def records(kind: str, number: int, levels: int, died: int, query: Query) -> tuple[str, list[Any]]:
    """Return the statement, and its values, for the records that a query matches, in order of ``(start, version)``.

    Args:
        kind, number, levels, died: of the stream; ``number`` is its id.
    """
    start, end, item, ops, until, after, _, reverse, limit, most = query
    parts: list[tuple[int, ...]]
    if kind == KV or after > 0:
        where, parts = _BY_VERSION, [(number, end, start)]
    else:  # one range of the index for each level, merged in order by PostgreSQL
        where, parts = _BY_SPAN, [(number, level, low, end, start) for level, low in ranges(levels, start)]
    filters = {
        "item = %s": item,
        "recorded <= %s": until,
        "op = ANY(%s)": None if ops is None else list(ops),
        "version > %s": query.above(died),
    }
    given = {text: value for text, value in filters.items() if value is not None}
    each = f"(SELECT {columns_of(most)} FROM rstore.record {where}{''.join(f' AND {text}' for text in given)})"
    order = "DESC" if reverse else "ASC"
    values = [value for part in parts for value in (*part, *given.values())]
    statement = f"{' UNION ALL '.join([each] * len(parts))} ORDER BY start {order}, version {order} LIMIT %s"
    return statement, [*values, limit]

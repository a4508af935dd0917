"""A query as DuckDB's own parser reads it: the tables and columns that it names, and the queries that are refused."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

Node: TypeAlias = dict[str, Any]
Parameters: TypeAlias = "Sequence[Any] | Mapping[str, Any] | None"

FUNCTIONS: Final = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree"})
"""The functions that may stand in place of a table. Others read files, the configuration, or memory."""

_PREFIXES: Final[Mapping[str, Callable[[str], str]]] = {
    "~~": lambda text: text.replace("_", "%").partition("%")[0],
    **dict.fromkeys(("starts_with", "prefix", "^@"), str),
}
"""The functions that tell whether a text has a prefix, and the prefix that their operand stands for."""

_READING: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"})
"""The queries that only read. DuckDB also takes others in WITH, such as ``WITH x AS (COPY kv TO 'file')``."""
_SETTINGS: Final = frozenset({"current_setting", "json_serialize_plan"})
"""The functions that tell settings, such as directories of the machine. A plan may have them as constants."""

_LAST: Final = "\U0010ffff"
_SURROGATES: Final = range(0xD800, 0xE000)
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Statement(NamedTuple):
    """A query.

    Attributes:
        text: the query as it is run. Conditions on the prefix of a key also say between which keys that is.
        tables: the names of the tables, without those that the query itself defines.
        columns: the names of columns in it, in lower case; None if it may need any column.
    """

    text: str
    tables: Sequence[str]
    columns: frozenset[str] | None

    def mentions(self, column: str) -> bool:
        """Tell whether the query may need a column."""
        return self.columns is None or column.lower() in self.columns


def statement_of(connection: Any, query: str, parameters: Parameters) -> Statement:
    """Return a query as DuckDB reads it.

    Raises:
        TypeError: it is no str.
        ValueError: it is no query, or several, or it does something else than read tables.
    """
    if not isinstance(query, str):
        raise TypeError(f"a query is a str, not {type(query).__name__}")
    parsed = _serialized(connection, query)
    if len(parsed["statements"]) != 1:
        raise ValueError(f"this takes one query, not {len(parsed['statements'])}")
    nodes = list(_nodes(parsed))
    for node in nodes:
        _check(node)
    tables = list(dict.fromkeys(_tables_in(parsed)))
    columns = _columns_in(nodes)
    narrowed = [_narrow(node["where_clause"], parameters) for node in nodes if node.get("where_clause")]
    text = query
    if any(narrowed):
        ((text,),) = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(parsed)]).fetchall()
    return Statement(text, tables, columns)


def _serialized(connection: Any, query: str) -> Node:
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    parsed: Node = json.loads(text)
    if parsed["error"]:
        if parsed["error_type"] != "parser":
            hint = "; PIVOT lists its columns, as in ON key IN ('a', 'b')" if "pivot" in query.lower() else ""
            raise ValueError(
                f"this takes a query that begins with SELECT, FROM, WITH or VALUES, and no other statement{hint}"
            )
        raise ValueError(f"{parsed['error_message']}{_place(query, parsed.get('position'))}")
    return parsed


def _place(query: str, position: str | None) -> str:
    if not position:
        return ""
    before = query.encode()[: int(position)].decode(errors="ignore")
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
    return f" (line {line}, column {column})"


def _nodes(tree: Any) -> Iterator[Node]:
    """Yield all nodes of a tree, each before its children."""
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting += reversed(each.values())
        elif isinstance(each, list):
            waiting += reversed(each)


def _check(node: Node) -> None:
    kind = str(node.get("type"))
    if kind.endswith("_NODE") and kind not in _READING:
        raise ValueError(f"a query only reads: WITH can't have {kind.partition('_')[0]} in it")
    if node.get("function_name") in _SETTINGS:
        raise ValueError(f"{node['function_name']} can't be called: a query reads no settings")
    if kind == "TABLE_FUNCTION":
        name = node["function"].get("function_name", "")
        if name not in FUNCTIONS:
            raise ValueError(f"{name} can't stand in place of a table: {', '.join(sorted(FUNCTIONS))} can")
    if kind == "BASE_TABLE" and (node.get("schema_name") or node.get("catalog_name")):
        path = [node.get("catalog_name"), node.get("schema_name"), node["table_name"]]
        name = ".".join(filter(None, path))
        raise ValueError(
            f"there are no schemas here: write the name of a series with dots as {quoted(name)}, in quotes"
        )
    if kind == "SHOW_REF" and node.get("table_name"):
        raise ValueError("SHOW lists no tables here: DESCRIBE shows the columns of one")


# -- tables -----------------------------------------------------------------------------------------------------------


def folded(name: str) -> str:
    """Return the form of a name that SQL compares: it ignores the case of ASCII letters, and of no others."""
    return name.translate(_LOWER)


def quoted(name: str) -> str:
    """Return a name as a query writes it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _tables_in(tree: Any) -> Iterator[str]:
    """Yield the names of tables, without those that WITH defines.

    Where WITH does not reach, its name is that of a table. DuckDB would look for it among its own views, such as
    ``duckdb_settings``. So it does not do to leave a name out because WITH defines it somewhere.
    """
    waiting = [(tree, frozenset[str]())]
    while waiting:
        each, own = waiting.pop()
        if isinstance(each, list):
            waiting += [(child, own) for child in reversed(each)]
        elif isinstance(each, dict):
            if each.get("type") == "BASE_TABLE" and folded(each["table_name"]) not in own:
                yield each["table_name"]
            waiting += reversed(list(_scopes(each, own)))


def _scopes(node: Node, own: frozenset[str]) -> Iterator[tuple[Any, frozenset[str]]]:
    """Yield the children of a node, each with the names of WITH that it can use.

    A definition of WITH can use those before it. Only the recursive part of one can use its own name.
    """
    for definition in node.get("cte_map", {}).get("map", ()):
        yield definition["value"], own
        own |= {folded(definition["key"])}
    for name, child in node.items():
        if node.get("type") == "RECURSIVE_CTE_NODE" and name == "right":
            yield child, own | {folded(node["cte_name"])}
        elif name != "cte_map":
            yield child, own


# -- columns ----------------------------------------------------------------------------------------------------------


def _columns_in(nodes: Sequence[Node]) -> frozenset[str] | None:
    """Return the names of columns in a query; None if it has a star, names a whole row, or joins by all equal names."""
    tables = {str(node[name]).lower() for node in nodes if "table_name" in node for name in ("table_name", "alias")}
    columns = set[str]()
    for node in nodes:
        if node.get("class") in ("STAR", "POSITIONAL_REFERENCE") or node.get("ref_type") == "NATURAL":
            return None
        if node.get("type") in ("PIVOT", "UNPIVOT") or node.get("column_name_alias"):
            return None
        names = [str(name).lower() for name in (*node.get("column_names", ()), *node.get("using_columns", ()))]
        if len(names) == 1 and names[0] in tables:
            return None
        columns.update(names)
    return frozenset(columns)


# -- prefixes of keys -------------------------------------------------------------------------------------------------


def _narrow(condition: Node, parameters: Parameters) -> bool:
    """Add to conditions on the prefix of a key between which keys that is, and tell whether there were any.

    DuckDB hands only comparisons to a scan. So ``key LIKE 'a%'`` becomes ``key LIKE 'a%' AND key >= 'a' AND
    key < 'b'``, which is the same for each key, and for NULL.
    """
    if condition.get("class") == "CONJUNCTION":
        narrowed = [_narrow(each, parameters) for each in condition["children"]]  # a list: all are narrowed
        return any(narrowed)
    prefix = _prefix_in(condition, parameters)
    if not prefix:
        return False
    own = dict(condition)
    key = own["arguments"][0]["expression"]
    bounds = [("COMPARE_GREATERTHANOREQUALTO", prefix), ("COMPARE_LESSTHAN", after_prefix(prefix))]
    compared = [_comparison(key, comparison, text) for comparison, text in bounds if text is not None]
    condition.clear()
    condition |= {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "children": [own, *compared]}
    return True


def _prefix_in(node: Node, parameters: Parameters) -> str:
    """Return the prefix of a key that a condition asks for; empty if it asks for none."""
    prefix_of = _PREFIXES.get(node.get("function_name", ""))
    if prefix_of is None or len(node.get("arguments", ())) != 2:
        return ""
    column, operand = (each["expression"] for each in node["arguments"])
    if column.get("class") != "COLUMN_REF" or column["column_names"][-1].lower() != "key":
        return ""
    text = _text_of(operand, parameters)
    return "" if text is None else prefix_of(text)


def _text_of(node: Node, parameters: Parameters) -> str | None:
    """Return the text of an operand: a literal, or a parameter. None if it is no text."""
    value: Any = None
    if node.get("class") == "CONSTANT" and node["literal"].get("kind") == "STRING":
        value = node["literal"].get("text", "")
    elif node.get("class") == "PARAMETER":
        name = node["identifier"]
        if isinstance(parameters, Mapping):
            value = parameters.get(name)
        elif parameters is not None and name.isdecimal() and 0 < int(name) <= len(parameters):
            value = parameters[int(name) - 1]
    return value if isinstance(value, str) else None


def _comparison(key: Node, comparison: str, text: str) -> Node:
    constant = {
        "class": "CONSTANT",
        "type": "VALUE_CONSTANT",
        "alias": "",
        "literal": {"kind": "STRING", "text": text},
    }
    return {"class": "COMPARISON", "type": comparison, "alias": "", "left": key, "right": constant}


def after_prefix(prefix: str) -> str | None:
    """Return the first text after all that have a prefix, in the order of code points; None if there is none.

    >>> after_prefix('price/'), after_prefix('a\U0010ffff'), after_prefix('\U0010ffff')
    ('price0', 'b', None)
    """
    kept = prefix.rstrip(_LAST)
    if not kept:
        return None
    code = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if code in _SURROGATES else code)

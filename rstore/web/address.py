"""The path of each page, and back: every namespace and every key has one, whatever its characters.

A key keeps its slashes. The characters that a browser or the address itself would take for something else are escaped
as in JSON pointers, by a table. The path is then quoted as usual. Browsers resolve ``..`` in a path also where it is
quoted, so a dot may have to be escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from attrs import frozen

_ESCAPES: Final[Mapping[str, str]] = {"~": "~0", "/": "~1", ".": "~2", "": "~3", "%": "~4", "\n": "~5"}
"""The empty one stands for an empty segment, which servers in between may drop. Some unquote a path twice. The
pattern of a route matches no line feed."""
_MEANINGS: Final = {escape: char for char, escape in _ESCAPES.items()}
_ESCAPE: Final = re.compile("~.?", re.DOTALL)
_JSON: Final = ".json"
STATIC: Final = "~static"
"""The first segment of files. No escaped namespace begins so."""


@frozen
class Address:
    """A page, as a path names it: of a namespace, and of a key in it.

    Attributes:
        namespace: its name; None for the list of namespaces.
        page: the name of a page; empty for the list of keys.
        key: a key, if the page is one of a key.
        is_json: whether the answer is JSON in place of HTML.
    """

    namespace: str | None = None
    page: str = ""
    key: str | None = None
    is_json: bool = False

    @property
    def path(self) -> str:
        """The path, quoted.

        >>> Address('default', 'kv', 'user/a b').path, Address('a/b', 'log', is_json=True).path
        ('/default/kv/user/a%20b', '/a~1b/log.json')
        >>> Address('x', 'kv', '../etc').path, Address('x', 'kv', 'a//b.json').path
        ('/x/kv/~2~2/etc', '/x/kv/a/~3/b~2json')
        """
        parts = [""]
        if self.namespace is not None:
            parts += [_escaped(self.namespace, "~/%\n"), self.page]
        else:
            parts.append("")
        if self.key is not None:
            parts += [_escaped(part, "~%\n") for part in self.key.split("/")]
            if parts[-1].endswith(_JSON):
                parts[-1] = f"{parts[-1].removesuffix(_JSON)}{_ESCAPES['.']}json"
        return quote("/".join(parts) + _JSON * self.is_json)


def address_of(path: str) -> Address:
    """Return the address that a path, no longer quoted, stands for.

    Raises:
        LookupError: it is the path of no page.

    >>> address_of('/default/kv/user/a b'), address_of('/x/kv/~2~2/a/~3/b~2json').key
    (Address(namespace='default', page='kv', key='user/a b', is_json=False), '../a//b.json')
    """
    is_json = path.endswith(_JSON)
    parts = path.removesuffix(_JSON).split("/")[1:]
    if parts in ([], [""]):
        return Address(is_json=is_json)
    namespace, *rest = parts
    page, *key = rest or [""]
    name = "/".join(map(_plain, key)) if key else None
    return Address(_plain(namespace), page, name, is_json)


def query_of(**words: object) -> str:
    """Return the query of a URL with its question mark, without the words that are None or empty.

    >>> query_of(at=5, to=None, prefix='a/ b')
    '?at=5&prefix=a%2F+b'
    """
    given = {word: value for word, value in words.items() if value not in (None, "", False)}
    return f"?{urlencode(given)}" if given else ""


def _escaped(segment: str, characters: str) -> str:
    if segment in ("", ".", ".."):
        return _ESCAPES[""] if not segment else _ESCAPES["."] * len(segment)
    return "".join(_ESCAPES[char] if char in characters else char for char in segment)


def _plain(segment: str) -> str:
    return _ESCAPE.sub(_meaning, segment)


def _meaning(found: re.Match[str]) -> str:
    try:
        return _MEANINGS[found[0]]
    except KeyError:
        raise LookupError(f"{found[0]!r} is no escape of a path") from None

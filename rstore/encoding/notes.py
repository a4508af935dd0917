"""Notes, which say who wrote something and why: JSON, so that a reader of an audit trail unpickles nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from rstore.encoding.bodies import Body, compressed


def note_body(words: Mapping[str, Any]) -> Body:
    """Return the body of a note. It is JSON, whatever a store's own ``_dump`` makes of values.

    Raises:
        TypeError, ValueError: JSON can't hold a word; the message names it.
    """
    return compressed(0, open_json(words) + b"}")


def open_json(words: Mapping[str, Any]) -> bytes:
    """Return words as a JSON object without its last brace, so that others may come behind.

    Raises:
        TypeError, ValueError: JSON can't hold a word; the message names it.
    """
    try:
        if _TEXTS.issuperset(map(type, words.values())):
            return _open_json_of_texts(tuple(words.items()))
        return _json(words)[:-1]
    except (TypeError, ValueError, RecursionError):
        for word, value in words.items():
            _check_word(word, value)
        raise


def words_of(data: bytes) -> dict[str, Any]:
    """Return the words of a note.

    Raises:
        ValueError: the data are not a JSON object.
    """
    text = data.decode()
    words, end = _DECODE(text) if text.startswith("{") else (None, 0)
    if end != len(text):
        words = json.loads(text)  # another program has put spaces around it, or it is no JSON at all
    if not isinstance(words, dict):
        raise ValueError(f"not a JSON object, but {type(words).__name__}")
    return words


# json.dumps would make an encoder for each note; json.loads would look for spaces, and for the encoding, in each
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_TEXTS: Final = frozenset({str})
_DECODE: Final = json.JSONDecoder().raw_decode


@lru_cache(maxsize=64)  # the same user and the same decision come again and again
def _open_json_of_texts(words: tuple[tuple[str, str], ...]) -> bytes:
    return _json(dict(words))[:-1]


def _json(words: Mapping[str, Any]) -> bytes:
    return _ENCODE(words).encode()


def _check_word(word: str, value: Any) -> None:
    """Raise if JSON can't hold a word of a note, and name it."""
    problem = f"context({ascii(word)[1:-1].removeprefix('rstore.')}=...):"
    try:
        _json({word: value})
    except UnicodeEncodeError:
        raise ValueError(f"{problem} a text can't have lone surrogates: {ascii(value)[:60]}") from None
    except RecursionError:
        raise ValueError(f"{problem} the value is nested too deeply for JSON") from None
    except TypeError as exc:
        raise TypeError(f"{problem} {exc}; give what JSON can hold, or its str()") from None
    except ValueError as exc:
        raise ValueError(f"{problem} there is no JSON for the value: {exc}") from None

"""Commits: all that one append writes, with the note that says who wrote it, why, and what was decided.

Each record of a commit has the note beside it, with the id of the commit in it. The arguments of a decision may be
long, and stand beside the first record of each key only. Rejected: the whole note beside the first record, and a
reference to it beside the others. To erase the first would leave the others without a name, and a follower that begins
in the middle would have to search for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from attrs import frozen

from rstore.domain.log import Entry
from rstore.domain.streams import Stream
from rstore.encoding.bodies import NOTHING, Body, compressed
from rstore.encoding.envelope import Envelope
from rstore.encoding.notes import open_json

DID: Final = "rstore.did"
ARGUMENTS: Final = "rstore.arguments"
COMMIT: Final = "rstore.commit"
"""The words of a note that rstore itself gives: the name of a decision, its arguments, and the id of the commit."""

WRITER: Final = "rstore.projection"
"""The word of a note that names the projection which wrote a record.

Where records of several writers were joined, it is a list of all writers, in which None stands for all others.
"""

_WORDS_BYTES: Final = 1 << 14
_END: Final = b',"%b":"%%b"}' % COMMIT.encode()


@frozen
class Note:
    """The words of a context, and the JSON of them that stands beside records: with the arguments, and without.

    The JSON lacks its last brace: the id of a commit comes behind.
    """

    words: dict[str, Any]
    whole: bytes
    brief: bytes

    @classmethod
    def of(cls, words: dict[str, Any]) -> Note:
        """Return the note of some words.

        Raises:
            TypeError, ValueError: JSON can't hold a word; or they are too long, without the arguments.
        """
        arguments = words.get(ARGUMENTS) if DID in words else None  # without a decision, a word like any other
        brief = open_json(words if arguments is None else {each: words[each] for each in words if each != ARGUMENTS})
        if len(brief) > _WORDS_BYTES:
            raise ValueError(f"who and why have at most {_WORDS_BYTES >> 10} KiB, not {len(brief)} bytes")
        whole = brief if arguments is None else b"%b,%b" % (brief, open_json({ARGUMENTS: arguments})[1:])
        return cls(words, whole, brief)


def with_words(words: Mapping[str, Any], note: Note | None) -> Note:
    """Return a note with further words, which replace none of those that it has."""
    return Note.of({**words, **({} if note is None else note.words)})


def decision_name(decide: Callable[..., Any]) -> str | None:
    """Return the name of a decision that a function takes; None of a lambda.

    >>> from functools import partial
    >>> decision_name(str.upper), decision_name(partial(str.replace, old='a')), decision_name(lambda order: None)
    ('upper', 'replace', None)
    """
    while isinstance(decide, partial):
        decide = decide.func
    name = getattr(decide, "__name__", type(decide).__name__)
    return None if name == "<lambda>" else str(name)


def new_identity() -> str:
    """Return the id of a new commit: 8 random bytes, as 16 hexadecimal digits."""
    return os.urandom(8).hex()


class NewCommit:
    """Makes the entries of one append, each with its note."""

    __slots__ = ("_begun", "_brief", "_envelope", "_whole")

    def __init__(self, envelope: Envelope, note: Note | None, identity: str | None = None) -> None:
        """Take the note, if there is one, and the id of the commit, if that has begun before."""
        self._envelope = envelope
        self._begun: set[Stream] = set()
        self._whole: Body | None = None
        self._brief: Body | None = None
        if note is not None:
            end = _END % (identity or new_identity()).encode()
            self._brief = self._whole = compressed(0, note.brief + end)
            if note.whole is not note.brief:
                self._whole = compressed(0, note.whole + end)

    def entry(self, stream: Stream, op: str, body: Body = NOTHING, *, item: str = "", start: int, end: int) -> Entry:
        """Return a sealed entry, and the note beside it."""
        note = self._brief
        if note is not self._whole and stream not in self._begun:
            self._begun.add(stream)
            note = self._whole
        return self._envelope.entry(stream, op, body, item=item, start=start, end=end, note=note)


def writers_in(words: Mapping[str, Any]) -> set[str | None]:
    """Return the projections that a note names; None stands for all other writers.

    >>> writers_in({}), writers_in({WRITER: 'totals'}), sorted(writers_in({WRITER: ['a', 'b']}))
    ({None}, {'totals'}, ['a', 'b'])
    """
    writer = words.get(WRITER)
    return set(writer) if isinstance(writer, list) else {writer}

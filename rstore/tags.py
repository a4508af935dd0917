"""Tags: names of moments. Each call that takes a moment of the past takes the name of one, too."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from typing import Final, NamedTuple

from rstore.core import Core, Reading, ReadSurface, Surface, now
from rstore.domain.errors import StoreIntegrityError, StorePayloadError
from rstore.domain.log import Batch, LogReader, Record
from rstore.domain.names import check_name
from rstore.domain.operators import SET_TAG, UNTAG
from rstore.domain.paging import newest, pages
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import TAG, Stream
from rstore.encoding.bodies import NOTHING, Body
from rstore.encoding.notes import note_body
from rstore.timestamps import Moment, posix_ms

_AT: Final = "at"
_NEAR: Final = 3
_PAGE: Final = 256
_MILLISECOND: Final = 0.001


class Tag(NamedTuple):
    """A name of a moment.

    Attributes:
        name: the name.
        moment: the moment, in POSIX milliseconds; None where the tag was removed.
        recorded: when it was set, moved or removed, in POSIX milliseconds.
        who, why: who did so and why, as :meth:`Store.context` attached them; None without them.
    """

    name: str
    moment: int | None
    recorded: int
    who: str | None
    why: str | None


class TagReader(ReadSurface):
    """Reads the names of moments."""

    def tags(self) -> list[Tag]:
        """Return the tags in order of their moments. A view shows those that were set by its time, as of its time.

        >>> _ = store.tag('close of May', '2026-05-31T22:00Z')
        >>> [(tag.name, tag.moment) for tag in store.tags()]
        [('close of May', 1780264800000)]
        """
        found = (_tag_of(self._core, *each) for each in _present(self._core.log))
        return sorted(found, key=lambda tag: (tag.moment or 0, tag.name))

    def tag_history(self, name: str) -> list[Tag]:
        """Return how a tag was set, moved and removed, the oldest first; an empty list if it never was.

        >>> _ = store.tag('audited', 1000), store.tag('audited', 2000, move=True)
        >>> [tag.moment for tag in store.tag_history('audited')]
        [1000, 2000]
        """
        stream = Stream(TAG, check_name("tag", name, empty=False))
        return [_tag_of(self._core, stream, record) for record in self._core.log.read(stream)]


class Tagging(TagReader, Surface):
    """Gives names to moments."""

    def tag(self, name: str, at: Moment | None = None, *, move: bool = False) -> int:
        """Give a moment a name, and return the moment in POSIX milliseconds.

        :meth:`at`, :meth:`past`, :meth:`log`, :meth:`diff`, :meth:`revert`, :meth:`prune` and :meth:`compact` take the
        name in place of the moment. A tag is kept in the log, with the context of the call. It protects nothing:
        without ``before``, :meth:`compact` also erases what only views of a tagged moment need. A name is stored in
        clear, as keys are; the moment is sealed.

        Args:
            name: any text but a number or a time in ISO 8601.
            at: the moment, or the name of another tag; by default now, between all that this thread has stored
                and all that it stores later. That takes two milliseconds.
            move: whether a tag of this name may have another moment. Its :meth:`tag_history` shows both.

        Raises:
            ValueError: the name is a number or a time.
            StoreIntegrityError: the name stands for another moment.

        >>> store['price'] = 10
        >>> _ = store.tag('before the sale')
        >>> store['price'] = 8
        >>> store.at('before the sale')['price']
        10
        """
        core, stream = self._core, Stream(TAG, _check_tag(name))
        if at is not None:
            moment = moment_of(core, at)
            core.decide(partial(_set, core, stream, moment, move=move))
            return moment
        # a millisecond of its own, since both at() and since= include it; no loops, as a test may hold the clock
        time.sleep(_MILLISECOND)
        moment = now()
        core.decide(partial(_set, core, stream, moment, move=move))
        if now() == moment:
            time.sleep(_MILLISECOND)
        return moment

    def untag(self, name: str) -> None:
        """Remove a tag. Its :meth:`tag_history` stays.

        Raises:
            ValueError: there is no such tag; the message names those that are near it.

        >>> _ = store.tag('mistake')
        >>> store.untag('mistake')
        >>> store.tags()
        []
        """
        core, stream = self._core, Stream(TAG, check_name("tag", name, empty=False))
        core.decide(partial(_remove, core, stream))


def moment_of(core: Reading, moment: Moment, what: str = "a time", *, up: bool = False) -> int:
    """Return a time, or the moment of a tag, in POSIX milliseconds; see :func:`rstore.timestamps.posix_ms`.

    Raises:
        TypeError, ValueError: the argument is neither a time nor a tag. The message names the tags that are near it.
    """
    try:
        return posix_ms(moment, what, up=up)
    except ValueError as error:
        if not isinstance(moment, str):
            raise
        return tagged_moment(core, moment, error)


def tagged_moment(core: Reading, name: str, error: ValueError) -> int:
    """Return the moment of a tag, or raise the error of a text that is no time. The message names the tags near it."""
    try:
        stream = Stream(TAG, _check_tag(name))
    except ValueError:
        raise error from None
    record = core.log.last((stream,))[0]
    moment = None if record is None else _moment_in(core, stream, record)
    if moment is None:
        near = _near(core.log, name)
        raise ValueError(f"{error}; {near}" if near else str(error)) from None
    return moment


def _check_tag(name: object) -> str:
    """Return the name of a tag, or raise if it would be taken for a time."""
    checked = check_name("tag", name, empty=False)
    if _is_parsed(int, checked) or _is_parsed(datetime.datetime.fromisoformat, checked):
        raise ValueError(f"{checked[:60]!r} is a number or a time, and can't be the name of a tag: add a word to it")
    return checked


def _is_parsed(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _near(log: LogReader, name: str) -> str:
    """Return a remark that names the tags that are most like a name, whatever their case; empty if there are none."""
    names = {each.casefold(): each for each in tag_names(log)}
    near = [names[each] for each in get_close_matches(name.casefold(), names, _NEAR)]
    return f"the tags nearest to it are {', '.join(map(repr, near))}" if near else ""


def tag_names(log: LogReader) -> list[str]:
    """Return the names of all tags. This needs no key."""
    return [stream.key for stream, _ in _present(log)]


def _present(log: LogReader) -> Iterator[tuple[Stream, Record]]:
    """Yield the stream of each tag that was not removed, and its last record."""
    for page in pages(log.heads(TAG, live=False), _PAGE):
        streams = [head.stream for head in page]
        for stream, record in zip(streams, newest(log, streams), strict=True):
            if record is not None and record.op != UNTAG:
                yield stream, record


def _tag_of(core: Reading, stream: Stream, record: Record) -> Tag:
    note = core.envelope.note(stream, record)
    return Tag(stream.key, _moment_in(core, stream, record), record.recorded, note.get("who"), note.get("why"))


def _moment_in(core: Reading, stream: Stream, record: Record) -> int | None:
    """Return the moment that a record of a tag names; None if it removes the tag."""
    if core.envelope.check_op(stream, record, (SET_TAG, UNTAG)) == UNTAG:
        core.envelope.check(stream, record)
        return None
    moment = core.envelope.words(stream, record).get(_AT)
    if type(moment) is not int or not TIME_MIN <= moment <= TIME_MAX:
        raise StorePayloadError(core.namespace, *stream, "its words name no moment")
    return moment


def _set(core: Core, stream: Stream, moment: int, *, move: bool) -> None:
    version, before = _version_and_moment(core, stream)
    if before == moment:
        return
    if before is not None and not move:
        raise StoreIntegrityError(
            f"the tag {stream.key!r} stands for {before} already: pass move=True, or choose another name"
        )
    _append(core, stream, SET_TAG, note_body({_AT: moment}), version)


def _remove(core: Core, stream: Stream) -> None:
    version, before = _version_and_moment(core, stream)
    if before is None:
        near = _near(core.log, stream.key)
        raise ValueError(f"there is no tag {stream.key!r}{near and f'; {near}'}")
    _append(core, stream, UNTAG, NOTHING, version)


def _version_and_moment(core: Core, stream: Stream) -> tuple[int, int | None]:
    """Return the version of a tag's stream, and the moment that it stands for."""
    head = core.log.head(stream)  # before the record: what others write in between is a conflict
    record = core.log.last((stream,))[0]
    return 0 if head is None else head.version, None if record is None else _moment_in(core, stream, record)


def _append(core: Core, stream: Stream, op: str, body: Body, version: int) -> None:
    entry = core.new_commit().entry(stream, op, body, start=0, end=0)
    core.append([Batch(stream, (entry,), now(), expect=version)])

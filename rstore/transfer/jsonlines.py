"""A namespace as JSON Lines, which come back bit for bit: one line for each record, as it is sealed.

The first line says what this is, then come records in the order of the log, then heads, and at last a line that tells
whether all of them are there, as they were written::

    {"rstore": 1, "namespace": "default", "encrypted": false}
    {"kind": "kv", "key": "price", "version": 1, "recorded": 1793523600000, "start": 0, "end": 0, "item": "",
     "op": "setitem", "data": "AQAu...", "meta": null, "value": 10}
    {"head": "kv", "key": "price", "version": 1, "live": true, "died": 0}
    {"records": 1, "heads": 1, "digest": "...", "sha256": "..."}

``value``, ``who`` and ``why`` are there for people, where the store can open them, and are never read back.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, TextIO, TypeAlias

from attrs import frozen

from rstore.core import Core, reading_of
from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.log import UNPLACED, VERSION_MAX, Head, Position, Record
from rstore.domain.names import check_name
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import COPY, Stream
from rstore.encoding.sealing import Sealer, is_encrypted
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import change_of
from rstore.progress import Report, Steps
from rstore.store import Store
from rstore.transfer.copying import HEADS, Landing, Side, target_of
from rstore.transfer.digests import KINDS, Digest, Tally, is_behind, moved, opened_by, pages_of_heads, tally
from rstore.transfer.files import TextFile, read_again, written

_FORMAT: Final = 1

_Words: TypeAlias = Mapping[str, Any]


# -- write ------------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes lines, and sums them up."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._hash = text, sha256()

    def write(self, line: str) -> None:
        self._text.write(f"{line}\n")
        self._hash.update(line.encode() + b"\n")

    def end(self, digest: Digest, heads: int) -> None:
        words = {"records": digest.records, "heads": heads, "digest": digest.sha, "sha256": self._hash.hexdigest()}
        self.write(_dumped(words))


def export(store: Store, file: TextFile, progress: Report | None = None) -> Digest:
    """Write a namespace with all its history as JSON Lines, and return its digest.

    What is encrypted stays so in ``data`` and ``meta``, which are all that :func:`load` reads; but a store that has
    the key also writes values, who and why in clear, for people. Open it without the key to write none of them.

    Args:
        file: a name, compressed if it ends in ``.gz``, or a file that is open for text. One that is named is there
            when all of it was written, and not before.
        progress: is told how many records were written.

    Raises:
        StoreError: something was written to the store meanwhile, or erased there; or it holds only a part of what was
            copied or loaded.

    >>> import io
    >>> store['price'] = 10
    >>> file = io.StringIO()
    >>> export(store, file).records, len(file.getvalue().splitlines())
    (1, 4)
    """
    side, done, steps, heads = Side.of(store), Tally(), Steps(progress), 0
    side.check_whole()
    last: Position | None = None
    is_quiet = True
    with written(file) as text:
        writer = _Writer(text)
        header = {"rstore": _FORMAT, "namespace": side.namespace, "encrypted": _is_encrypted(side)}
        writer.write(_dumped(header))
        for position, stream, record in moved(side.log, None):
            last = position
            done.add(stream, record)
            writer.write(_record_line(store, stream, record))
            steps.step()
        for page in pages_of_heads(side.log):
            is_quiet = is_quiet and not is_behind(side.log, page, last)
            for head in page:
                done.add_head(head.stream, head.version, head.live)
                writer.write(_head_line(head))
            heads += len(page)
        # read again to the end: what was erased meanwhile comes after nothing, and left a file that can't be loaded
        if not is_quiet or next(moved(side.log, last), None) is not None or done.differing(tally(side.log, until=last)):
            raise StoreError(f"{side.name} was written to while it was exported: export it again, or a backup of it")
        writer.end(done.digest(), heads)
        steps.report()
    return done.digest()


def _is_encrypted(side: Side) -> bool:
    """Tell whether the store has a key, or its first record was written with one."""
    first = next(moved(side.log, None), None)
    return side.sealer.has_key or (first is not None and is_encrypted(first[2].data))


def _record_line(store: Store, stream: Stream, record: Record) -> str:
    version, _, recorded, start, end, item, op, data, meta = record
    words = {"kind": stream.kind, "key": stream.key, "version": version, "recorded": recorded, "start": start}
    words |= {"end": end, "item": item, "op": op, "data": _text(data), "meta": None if meta is None else _text(meta)}
    return f"{_dumped(words)[:-1]}{_legible(store, stream, record)}}}"


def _head_line(head: Head) -> str:
    (kind, key), version, _, live, died = head
    return _dumped({"head": kind, "key": key, "version": version, "live": live, "died": died})


def _legible(store: Store, stream: Stream, record: Record) -> str:
    """Return what people may read of a record, as the rest of a JSON object; nothing if it is not for them."""
    if stream.kind not in KINDS:
        return ""
    change = change_of(reading_of(store), stream, record)  # what history() shows of it
    value = None if isinstance(change.value, Unreadable) else change.value  # what cannot be read comes back as it is
    found = {"value": value, "who": change.who, "why": change.why}
    return "".join(
        f', "{name}": {text}' for name, value in found.items() if value is not None and (text := _shown(value))
    )


def _shown(value: Any) -> str:
    """Return a value as JSON; empty if there is none for it."""
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def _dumped(words: _Words) -> str:
    return json.dumps(words, ensure_ascii=False)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- read -------------------------------------------------------------------------------------------------------------


@frozen
class _File:
    """What was found in a file: for which namespace it is sealed, its sum, and what it holds."""

    namespace: str
    sha: str
    tally: Tally


def load(store: Store, file: TextFile, progress: Report | None = None) -> Digest:
    """Read what :func:`export` has written into an empty namespace, and return the digest of it.

    The whole file is checked before anything is written. Interrupted, it is called again with the same file, and goes
    on where it was. Into a namespace of the same name, payloads come back as they were, also encrypted ones without a
    key; for another name they are opened, and sealed for that with the keys of the store.

    Args:
        store: one that is not open is opened, and made if there is none, when the file was found to be whole.
        file: a name, or a file that is open for text. One that can't be wound back, such as a pipe, is set aside in a
            temporary file first.
        progress: is told how many records were stored.

    Raises:
        StoreFileError: the file is cut off or was changed, or a line is none that was exported.
        StoreNotEmptyError: the namespace holds something else.
        StoreError: what is stored in the end is not what is in the file, since somebody else wrote there meanwhile.

    >>> import io
    >>> store['price'] = 10
    >>> file = io.StringIO()
    >>> before = export(store, file)
    >>> with Store('memory://', frozen=False) as other:
    ...     _ = file.seek(0)
    ...     load(other, file) == before, other['price']
    (True, 10)
    """
    core, side = target_of(store), Side.of(store)
    with read_again(file) as lines:
        found = _checked(_numbered(lines()), side)
        with core.session.while_open():  # what is refused leaves no store behind
            return _stored(lines, found, side, core, progress)


def _stored(lines: Callable[[], TextIO], found: _File, side: Side, core: Core, progress: Report | None) -> Digest:
    """Store what a file holds that was found to be whole, and compare."""
    source = None if found.namespace == side.namespace else side.sealer.named(found.namespace)
    landing = Landing(core, found.sha[:32])
    arrived = int(landing.begin() or 0)
    try:
        _land(_numbered(lines()), landing, arrived, side.sealer, source, Steps(progress, found.tally.records))
    except StoreFileError as exc:  # it was whole when it was read before
        raise StoreError(
            f"line {exc.line}: {exc.problem}: the file was changed while it was loaded; discard() what is there and "
            "load it again"
        ) from exc
    here = tally(side.log, contents=opened_by(side.sealer) if source else None)
    kinds = here.differing(found.tally)
    if kinds:
        # nothing is discarded: what differs may be what somebody else has written there since it was empty
        raise StoreError(
            f"what is stored of {' and '.join(kinds)} is not what is in the file: somebody else wrote to "
            f"{side.name} meanwhile, or something is damaged; discard() it and load again"
        )
    digest = tally(side.log).digest() if source else here.digest()
    landing.end()  # at last: without the note, a load that is called again finds the namespace taken
    return digest


def _land(
    lines: Iterator[tuple[int, str]],
    landing: Landing,
    arrived: int,
    sealer: Sealer,
    source: Sealer | None,
    steps: Steps,
) -> None:
    """Store what is in the lines, of records only those that have not arrived yet."""
    newest, heads = 0, list[Head]()
    for number, words in _parsed(lines):
        if "kind" in words:
            steps.step()
            newest = number
            stream, record = _record(number, words)
            if number > arrived and landing.add(stream, sealer.adopted(stream, record, source) if source else record):
                landing.flush(str(number))
        elif "head" in words:
            heads.append(_head(number, words))
        if len(heads) == HEADS or "records" in words:
            landing.flush(str(newest))
            landing.settle(heads)
            heads = []
    steps.report()


def _checked(lines: Iterator[tuple[int, str]], side: Side) -> _File:
    """Read a whole file, and return what is in it.

    Raises:
        StoreFileError: it is not as it was written.
    """
    hashed, counted, heads = sha256(), Tally(), 0
    contents: Tally | None = None
    namespace, end = "", None
    number = 0
    for number, line in lines:
        words = _words(number, line)
        if number == 1:
            namespace = _namespace(words)
            if namespace != side.namespace:
                contents = Tally(opened_by(side.sealer.named(namespace)))
        elif end is not None:
            raise StoreFileError(number, "there is more after the last line of an export")
        elif "kind" in words:
            found = _record(number, words)
            for each in filter(None, (counted, contents)):
                each.add(*found)
        elif "head" in words:
            head = _head(number, words)
            for each in filter(None, (counted, contents)):
                each.add_head(head.stream, head.version, head.live)
            heads += 1
        elif "records" in words:
            end = words
            digest = counted.digest()
            expected = {"records": digest.records, "heads": heads, "digest": digest.sha, "sha256": hashed.hexdigest()}
            if words != expected:
                raise StoreFileError(number, "the file is not as it was exported: something was changed or is missing")
        else:
            raise StoreFileError(number, "neither a record, a head nor the end of an export")
        hashed.update(line.encode() + b"\n")
    if end is None:
        raise StoreFileError(number + 1, "the file is cut off: the last line of an export is missing")
    return _File(namespace, hashed.hexdigest(), contents or counted)


def _numbered(text: TextIO) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers, from 1."""
    number = 0
    try:
        for number, line in enumerate(text, 1):
            yield number, line.rstrip("\r\n")
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as exc:
        raise StoreFileError(number + 1, f"the file is damaged or no text ({exc})") from exc


def _parsed(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, _Words]]:
    return ((number, _words(number, line)) for number, line in lines)


def _words(number: int, line: str) -> _Words:
    try:
        words = json.loads(line)
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, dict):
        raise StoreFileError(number, "no JSON object")
    return words


def _namespace(words: _Words) -> str:
    namespace = words.get("namespace")
    if words.get("rstore") != _FORMAT or not isinstance(namespace, str):
        raise StoreFileError(1, "this is no export of a store, or one of a newer rstore")
    return namespace


def _record(number: int, words: _Words) -> tuple[Stream, Record]:
    """Return the record of a line."""
    stream = Stream(_name(number, words, "kind"), _name(number, words, "key"))
    version = _number(number, words, "version", 1, VERSION_MAX)
    recorded, start, end = (_number(number, words, name, TIME_MIN, TIME_MAX) for name in ("recorded", "start", "end"))
    item, op = (_name(number, words, name) for name in ("item", "op"))
    data, meta = (_bytes(number, words, name) for name in ("data", "meta"))
    if data is None or start > end or stream.kind == COPY:
        raise StoreFileError(number, "this is no record")
    return stream, Record(version, UNPLACED, recorded, start, end, item, op, data, meta)


def _head(number: int, words: _Words) -> Head:
    stream = Stream(_name(number, words, "head"), _name(number, words, "key"))
    version, died = (_number(number, words, name, 0, VERSION_MAX) for name in ("version", "died"))
    live = words.get("live")
    if not isinstance(live, bool) or died > version or stream.kind not in KINDS:
        raise StoreFileError(number, "this is no head of a stream")
    return Head(stream, version, 0, live, died)


def _name(number: int, words: _Words, name: str) -> str:
    try:
        return check_name(name, words.get(name))
    except (TypeError, ValueError) as exc:
        raise StoreFileError(number, str(exc)) from None


def _number(number: int, words: _Words, name: str, least: int, most: int) -> int:
    found = words.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise StoreFileError(number, f"{name} is no integer from {least} to {most}")
    return found


def _bytes(number: int, words: _Words, name: str) -> bytes | None:
    found = words.get(name, "-")  # which is not in base64
    if found is None:
        return None
    try:
        return base64.b64decode(found, validate=True)
    except (TypeError, ValueError):
        raise StoreFileError(number, f"{name} is not in base64") from None

"""A namespace as JSON Lines, from which it can be restored bit for bit: one line for each sealed record.

The first line names the format, then come records in the order of the log, then heads. The last line has counts and
sums, which show whether the file is complete and unchanged::

    {"rstore": 1, "namespace": "default", "encrypted": false}
    {"kind": "kv", "key": "price", "version": 1, "recorded": 1793523600000, "start": 0, "end": 0, "item": "",
     "op": "setitem", "data": "AQAu...", "meta": null, "value": 10}
    {"head": "kv", "key": "price", "version": 1, "live": true, "died": 0}
    {"records": 1, "heads": 1, "digest": "...", "sha256": "..."}

``value``, ``who`` and ``why`` are for people. They are there if the store can open them, and are never read back.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple, TextIO

from attrs import frozen

from rstore.core import Core, reading_of
from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.log import UNPLACED, VERSION_MAX, Head, Position, Record
from rstore.domain.names import check_name
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import COPY, Stream
from rstore.encoding.sealing import is_encrypted
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import change_of
from rstore.progress import Report, Steps
from rstore.store import Store
from rstore.transfer.copying import BATCH_HEADS, Endpoint, Restoration, target_of
from rstore.transfer.digests import KINDS, Digest, Tally, copied_records, is_behind, opened_by, pages_of_heads, tally
from rstore.transfer.files import TextFile, read_again, written

_FORMAT: Final = 1


# -- write ------------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes lines, and computes their hash."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._hash = text, sha256()

    def write(self, line: str) -> None:
        self._text.write(f"{line}\n")
        self._hash.update(line.encode() + b"\n")

    def end(self, digest: Digest, heads: int) -> None:
        self.write(_dumped(_totals(digest, heads, self._hash.hexdigest())))


def _totals(digest: Digest, heads: int, sha256: str) -> dict[str, Any]:
    """Return the last line: counts and sums of all the others."""
    return {"records": digest.records, "heads": heads, "digest": digest.sha, "sha256": sha256}


def export(store: Store, file: TextFile, progress: Report | None = None) -> Digest:
    """Write a namespace with all its history as JSON Lines, and return its digest.

    :func:`load` reads only ``data`` and ``meta``, which stay encrypted if they are. A store that has the key also
    writes values, who and why in clear, for people. Open it without the key to leave them out.

    Args:
        file: a name, compressed if it ends in ``.gz``, or a file that is open for text. A named file appears when it is
            complete, and not before.
        progress: is called with the number of records that are written.

    Raises:
        StoreError: somebody has written to the store meanwhile, or erased records; or the store is itself an
            interrupted copy or load.

    >>> import io
    >>> store['price'] = 10
    >>> file = io.StringIO()
    >>> export(store, file).records, len(file.getvalue().splitlines())
    (1, 4)
    """
    source, done, steps, heads = Endpoint.of(store), Tally(), Steps(progress), 0
    source.check_whole()
    last: Position | None = None
    is_quiet = True
    with written(file) as text:
        writer = _Writer(text)
        header = {"rstore": _FORMAT, "namespace": source.namespace, "encrypted": _is_encrypted(source)}
        writer.write(_dumped(header))
        for position, stream, record in copied_records(source.log, None):
            last = position
            done.add(stream, record)
            writer.write(_record_line(store, stream, record))
            steps.step()
        for page in pages_of_heads(source.log):
            is_quiet = is_quiet and not is_behind(source.log, page, last)
            for head in page:
                done.add_head(head.stream, head.version, head.live)
                writer.write(_head_line(head))
            heads += len(page)
        # read all again: an erasure shows in no later record, and would leave a file that can't be loaded
        is_quiet = is_quiet and next(copied_records(source.log, last), None) is None
        if not is_quiet or done.differing(tally(source.log, until=last)):
            raise StoreError(f"{source.name} was written to while it was exported: export it again, or a backup of it")
        writer.end(done.digest(), heads)
        steps.report()
    return done.digest()


def _is_encrypted(source: Endpoint) -> bool:
    """Return whether the store has a key, or its first record is encrypted."""
    first = next(copied_records(source.log, None), None)
    return source.sealer.has_key or (first is not None and is_encrypted(first[2].data))


def _record_line(store: Store, stream: Stream, record: Record) -> str:
    version, _, recorded, start, end, item, op, data, meta = record
    fields = {"kind": stream.kind, "key": stream.key, "version": version, "recorded": recorded, "start": start}
    fields |= {"end": end, "item": item, "op": op, "data": _text(data), "meta": None if meta is None else _text(meta)}
    return f"{_dumped(fields)[:-1]}{_legible(store, stream, record)}}}"


def _head_line(head: Head) -> str:
    (kind, key), version, _, live, died, _ = head
    return _dumped({"head": kind, "key": key, "version": version, "live": live, "died": died})


def _legible(store: Store, stream: Stream, record: Record) -> str:
    """Return the fields of a record for people, as the rest of a JSON object; empty for private records."""
    if stream.kind not in KINDS:
        return ""
    change = change_of(reading_of(store), stream, record)  # the change that history() shows
    value = None if isinstance(change.value, Unreadable) else change.value  # it is restored from its sealed data
    found = {"value": value, "who": change.who, "why": change.why}
    return "".join(
        f', "{name}": {text}' for name, value in found.items() if value is not None and (text := _json_or_empty(value))
    )


def _json_or_empty(value: Any) -> str:
    """Return a value as JSON; empty if JSON can't represent it."""
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def _dumped(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- read -------------------------------------------------------------------------------------------------------------


@frozen
class _File:
    """A checked file: the namespace that it is sealed for, its hash, and the sum of its records."""

    namespace: str
    sha: str
    tally: Tally


def load(store: Store, file: TextFile, progress: Report | None = None) -> Digest:
    """Restore a file of :func:`export` into an empty namespace, and return the digest of the namespace.

    The whole file is checked before anything is written. If the load is interrupted, call it again with the same file,
    and it resumes. If the namespace has the same name, the payloads are restored as they are, encrypted ones
    even without a key. For another name they are opened, and sealed with the keys of the store.

    Args:
        store: a writable store. If it is not open, the load opens it, and creates it if there is none, once the file
            has proved to be complete.
        file: a name, or a file that is open for text. A file that can't seek, such as a pipe, is first copied to a
            temporary file.
        progress: is called with the number of records that are stored.

    Raises:
        StoreFileError: the file is cut off or was changed, or a line is not from an export.
        StoreNotEmptyError: the namespace has other data.
        StoreError: the stored records differ from those of the file, since somebody else wrote meanwhile.

    >>> import io
    >>> store['price'] = 10
    >>> file = io.StringIO()
    >>> before = export(store, file)
    >>> with Store('memory://', frozen=False) as other:
    ...     _ = file.seek(0)
    ...     load(other, file) == before, other['price']
    (True, 10)
    """
    core, target = target_of(store), Endpoint.of(store)
    with read_again(file) as lines:
        found = _checked(_lines(lines()), target)
        with core.session.while_open():  # an error before this leaves no new store behind
            return _stored(lines, found, target, core, progress)


def _stored(lines: Callable[[], TextIO], found: _File, target: Endpoint, core: Core, progress: Report | None) -> Digest:
    """Store the records of a file that was checked, and compare."""
    source = None if found.namespace == target.namespace else target.sealer.named(found.namespace)
    restoration = Restoration(core, found.sha[:32])
    restored = int(restoration.begin() or 0)

    def adopt(stream: Stream, record: Record) -> Record:
        return target.sealer.adopted(stream, record, source) if source else record

    try:
        _restore(_lines(lines()), restoration, restored, adopt, Steps(progress, found.tally.records))
    except StoreFileError as exc:  # it was complete when it was checked
        raise StoreError(
            f"line {exc.line}: {exc.problem}: the file was changed while it was loaded; discard() the namespace and "
            "load it again"
        ) from exc
    here = tally(target.log, contents=opened_by(target.sealer) if source else None)
    if kinds := here.differing(found.tally):
        # nothing is discarded: the difference may be what somebody else has written since the namespace was empty
        raise StoreError(
            f"the stored records of {' and '.join(kinds)} differ from those in the file: somebody else wrote to "
            f"{target.name} meanwhile, or a record is damaged; discard() the namespace and load again"
        )
    digest = tally(target.log).digest() if source else here.digest()
    restoration.finish()  # last: without the marker, a repeated load would find the namespace not empty
    return digest


def _restore(
    lines: Iterator[_Line],
    restoration: Restoration,
    restored: int,
    adopt: Callable[[Stream, Record], Record],
    steps: Steps,
) -> None:
    """Store all heads, and the records after the line up to which they are restored."""
    newest, heads = 0, list[Head]()
    for line in lines:
        if "kind" in line.fields:
            steps.step()
            newest = line.number
            stream, record = _record(line)
            if newest > restored and restoration.add(stream, adopt(stream, record)):
                restoration.flush(str(newest))
        elif "head" in line.fields:
            heads.append(_head(line))
        if len(heads) == BATCH_HEADS or "records" in line.fields:
            restoration.flush(str(newest))
            restoration.restore_heads(heads)
            heads = []
    steps.report()


def _checked(lines: Iterator[_Line], target: Endpoint) -> _File:
    """Read a whole file, and return its namespace and sums.

    Raises:
        StoreFileError: the file is not as it was written.
    """
    hashed, sums, heads, namespace = sha256(), [Tally()], 0, ""
    line, is_complete = _Line(0, "", {}), False
    for line in lines:
        if line.number == 1:
            namespace = _namespace(line)
            if namespace != target.namespace:
                sums.append(Tally(opened_by(target.sealer.named(namespace))))
        elif is_complete:
            raise line.error("there is more after the last line of an export")
        elif "kind" in line.fields:
            found = _record(line)
            for each in sums:
                each.add(*found)
        elif "head" in line.fields:
            head = _head(line)
            for each in sums:
                each.add_head(head.stream, head.version, head.live)
            heads += 1
        elif "records" in line.fields:
            is_complete = True
            if line.fields != _totals(sums[0].digest(), heads, hashed.hexdigest()):
                raise line.error("the file is not as it was exported: something was changed or is missing")
        else:
            raise line.error("the line is neither a record, a head nor the end of an export")
        hashed.update(line.text.encode() + b"\n")
    if not is_complete:
        raise StoreFileError(line.number + 1, "the file is cut off: the last line of an export is missing")
    return _File(namespace, hashed.hexdigest(), sums[-1])


class _Line(NamedTuple):
    """A line of a file, counted from 1, and the JSON object in it."""

    number: int
    text: str
    fields: Mapping[str, Any]

    def error(self, problem: str) -> StoreFileError:
        return StoreFileError(self.number, problem)

    def name(self, field: str) -> str:
        try:
            return check_name(field, self.fields.get(field))
        except (TypeError, ValueError) as exc:
            raise self.error(str(exc)) from None

    def integer(self, field: str, least: int, most: int) -> int:
        found = self.fields.get(field)
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise self.error(f"{field} is no integer from {least} to {most}")
        return found

    def data(self, field: str) -> bytes | None:
        found = self.fields.get(field, "-")  # which is not in base64
        if found is None:
            return None
        try:
            return base64.b64decode(found, validate=True)
        except (TypeError, ValueError):
            raise self.error(f"{field} is not in base64") from None


def _lines(file: TextIO) -> Iterator[_Line]:
    number = 0
    try:
        for number, line in enumerate(file, 1):
            text = line.rstrip("\r\n")
            yield _Line(number, text, _fields(number, text))
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as exc:
        raise StoreFileError(number + 1, f"the file is damaged, or it is no text ({exc})") from exc


def _fields(number: int, text: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise StoreFileError(number, "the line is no JSON object")
    return fields


def _namespace(line: _Line) -> str:
    namespace = line.fields.get("namespace")
    if line.fields.get("rstore") != _FORMAT or not isinstance(namespace, str):
        raise line.error("this is no export of a store, or one of a newer rstore")
    return namespace


def _record(line: _Line) -> tuple[Stream, Record]:
    stream = Stream(line.name("kind"), line.name("key"))
    version = line.integer("version", 1, VERSION_MAX)
    recorded, start, end = (line.integer(field, TIME_MIN, TIME_MAX) for field in ("recorded", "start", "end"))
    item, op = line.name("item"), line.name("op")
    data, meta = line.data("data"), line.data("meta")
    if data is None or start > end or stream.kind == COPY:
        raise line.error("this is no record")
    return stream, Record(version, UNPLACED, recorded, start, end, item, op, data, meta)


def _head(line: _Line) -> Head:
    stream = Stream(line.name("head"), line.name("key"))
    version, died = (line.integer(field, 0, VERSION_MAX) for field in ("version", "died"))
    live = line.fields.get("live")
    if not isinstance(live, bool) or died > version or stream.kind not in KINDS:
        raise line.error("this is no head of a stream")
    return Head(stream, version, 0, live, died)

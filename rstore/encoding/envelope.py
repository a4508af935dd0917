"""Values to bytes and back: serializer, compression and cipher, in one envelope.

An envelope is ``format | flags | checksum | body``, or encrypted ``format | flags | key id | nonce | ciphertext``. The
flags say how the body was made. Reading goes the other way round: verify or decrypt, decompress, then load.

A note, which says who and why, has an envelope of its own beside that of the value. It belongs to that very envelope,
whose flags say that there is one: so with a key nobody can take it away, exchange it or put one there.

A body is one value, or columns: the times of a segment (or the items of a snapshot) and then their values. Those are
dumped, or typed: then only what :mod:`rstore.encoding.columns` has no type for is dumped.
"""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from rstore.domain.errors import (
    StoreFormatError,
    StoreMissingKeyError,
    StorePayloadError,
    StorePlaintextError,
    StoreWrongKeyError,
)
from rstore.domain.log import Entry, Record
from rstore.domain.series import Run
from rstore.domain.streams import Stream
from rstore.encoding.columns import OBJECT, Layout, Table, UnknownColumnError, decode, encode
from rstore.encoding.packing import pack_blobs, pack_texts, pack_times, unpack_blobs, unpack_texts, unpack_times
from rstore.encoding.unreadable import why_unloadable

if TYPE_CHECKING:
    from rstore.encoding.cipher import Cipher

_FORMAT: Final = 1
_DUMPED, _TEXT, _COLUMNS, _COMPRESSED, _ENCRYPTED, _TYPED, _NOTED = 1, 2, 4, 8, 16, 32, 64
_KNOWN: Final = _DUMPED | _TEXT | _COLUMNS | _COMPRESSED | _ENCRYPTED | _TYPED | _NOTED
_OF_SEALING: Final = _ENCRYPTED | _NOTED  # what flags say of an envelope, and not of the body in it
_PLAIN: Final = struct.Struct("<BBI")
_COUNTS: Final = struct.Struct("<II")  # how many values, and how many bytes of their times or items
_HEADER_BYTES: Final = 2
_PROTOCOL: Final = 5
_COMPRESS_FROM: Final = 256  # bytes; below it the gain is not worth the call
_SAMPLE: Final = 1 << 16
_SAMPLE_OF_TYPED: Final = 1 << 10
_SAMPLES_OF_TYPED: Final = 4
_SHRINKS_TO: Final = 8  # prices that would shrink to a third went in five times, and came out eight times slower
_COMPRESS_LEVEL: Final = 1  # level 6 saves a few per cent more at three times the cost
_NOTE: Final = b"note"
_TAG_BYTES: Final = 16  # at the end of what is encrypted: no two values have the same

PackTimes: TypeAlias = Callable[[Any], bytes]
UnpackTimes: TypeAlias = Callable[[int, int, bytes], Any]
LoadValues: TypeAlias = Callable[[int, bytes], list[Any]]


class Body(NamedTuple):
    """A dumped value or columns, not yet bound to a place in the log."""

    flags: int
    data: bytes


NOTHING: Final = Body(0, b"")
"""The body of an entry that has no value, such as a ``delitem``."""


class Envelope:
    """Seals values for one namespace and opens what is read from it.

    ``dump`` and ``load`` are the user's own, or None for pickle. With a cipher everything is encrypted and, unless
    ``plaintext``, only what is encrypted is read.
    """

    def __init__(
        self,
        namespace: str,
        dump: Callable[[Any], str | bytes] | None = None,
        load: Callable[[Any], Any] | None = None,
        cipher: Cipher | None = None,
        *,
        plaintext: bool = False,
    ) -> None:
        self._namespace, self._dump, self._load, self._cipher = namespace, dump, load, cipher
        self._plaintext = plaintext or cipher is None

    # -- values to bodies ---------------------------------------------------------------------------------------------

    def dump(self, key: str, value: Any) -> Body:
        """Return the body of one value. A dumper's error is passed on with a note that names the key."""
        try:
            if self._dump is None:
                return _body(0, pickle.dumps(value, _PROTOCOL))
            text, data = _as_bytes(self._dump(value))
            return _body(_DUMPED | text * _TEXT, data)
        except Exception as exc:
            exc.add_note(f"rstore: while dumping a value for {key!r}; nothing was stored")
            raise

    def dump_run(self, key: str, run: Run, pack: PackTimes = pack_times) -> Body:
        """Return the body of a run of points; one alone is stored as a plain value, if it has no type.

        ``pack`` makes the same bytes of the times, in whatever they are kept, as
        :func:`rstore.encoding.packing.pack_times`.
        """
        times, values = run
        if isinstance(values, Table):
            return self._dump_typed(key, pack(times), values)
        if len(times) == 1:
            return self.dump(key, values[0])
        return self._dump_columns(key, pack_times(times), values)

    def dump_state(self, key: str, state: Mapping[str, Any]) -> Body | None:
        """Return the body of a snapshot, or None if the state would not come back from it as it is."""
        values = list(state.values())
        try:
            if self._dump and self._load and [self._load(self._dump(value)) for value in values] != values:
                return None
            return self._dump_columns(key, pack_texts(state), values)
        except Exception:  # a state that can't be dumped is no error: there are the events that it is folded from
            return None

    def _dump_columns(self, key: str, index: bytes, values: Sequence[Any]) -> Body:
        data = self._dump_values(key, values)
        flags = _COLUMNS if self._dump is None else _COLUMNS | _DUMPED
        return _body(flags, _COUNTS.pack(len(values), len(index)) + index + data)

    def _dump_typed(self, key: str, index: bytes, table: Table) -> Body:
        """Return the body of typed columns. A ``_dump`` is for values: it gets those of no other type."""
        data = encode(table, lambda values: self._dump_values(key, values))
        has_objects = any(column.kind == OBJECT for column in table.layout.columns)
        flags = _COLUMNS | _TYPED | (_DUMPED if has_objects and self._dump is not None else 0)
        head = _COUNTS.pack(len(table), len(index)) + index
        return _typed_body(flags, head + data)

    def _dump_values(self, key: str, values: Sequence[Any]) -> bytes:
        try:
            return (
                pickle.dumps(list(values), _PROTOCOL) if self._dump is None else _pack_dumped(map(self._dump, values))
            )
        except Exception as exc:
            exc.add_note(f"rstore: while dumping values for {key!r}; nothing was stored")
            raise

    def echo(self, stream: Stream, body: Body, value: Any) -> Any:
        """Return a value as it will be read back from ``body``: never the caller's own object, if that can change."""
        if self._dump is None and type(value) in ATOMS:
            return value
        data = zlib.decompress(body.data) if body.flags & _COMPRESSED else body.data
        return self._load_value(stream, body.flags, data)

    # -- bodies to envelopes ------------------------------------------------------------------------------------------

    def entry(
        self,
        stream: Stream,
        op: str,
        body: Body = NOTHING,
        *,
        item: str = "",
        start: int,
        end: int,
        note: Body | None = None,
    ) -> Entry:
        """Return the entry that holds a body, and a note beside it, sealed for this place in the log and no other."""
        place = item, op, start, end
        if note is not None:
            body = Body(body.flags | _NOTED, body.data)
        if self._cipher is None:
            return Entry(start, end, item, op, _plain(body), None if note is None else _plain(note))
        data = self._sealed(stream, body, *place)
        return Entry(
            start, end, item, op, data, None if note is None else self._sealed(stream, note, *place, _note_of(data))
        )

    @staticmethod
    def is_encrypted(data: bytes) -> bool:
        """Tell whether a sealed payload is encrypted, by what it says of itself: no key is needed."""
        return len(data) > 1 and bool(data[1] & _ENCRYPTED)

    def has_key_of(self, record: Record) -> bool:
        """Tell whether a record is encrypted with one of the keys, without opening it."""
        is_encrypted = self._cipher is not None and self.is_encrypted(record.data)
        return is_encrypted and self._cipher.knows(memoryview(record.data)[_HEADER_BYTES:])  # type: ignore[union-attr]

    def is_current(self, record: Record) -> bool:
        """Tell whether a record, value and note, is encrypted with the first key, without opening it."""
        if self._cipher is None:
            return True
        return self.is_encrypted(record.data) and self._cipher.is_current(memoryview(record.data)[_HEADER_BYTES:])

    def _sealed(self, stream: Stream, body: Body, item: str, op: str, start: int, end: int, what: bytes = b"") -> bytes:
        flags, scope = body.flags | _ENCRYPTED, _scope(self._namespace, stream)
        sealed: bytes = self._cipher.encrypt(  # type: ignore[union-attr]  # there is one
            scope, body.data, _bound(scope, flags, item, op, start, end) + what
        )
        return bytes((_FORMAT, flags)) + sealed

    def _open(self, stream: Stream, record: Record) -> tuple[int, bytes]:
        """Return the flags and the body of a record's envelope, verified, decrypted and decompressed."""
        flags, body = self._unsealed(stream, record, record.data)
        return flags, self._decompress(stream, body) if flags & _COMPRESSED else body

    def _unsealed(self, stream: Stream, record: Record, data: bytes, what: bytes = b"") -> tuple[int, bytes]:
        """Return the flags and the body of an envelope, verified and decrypted."""
        try:
            envelope, flags, checksum = _PLAIN.unpack_from(data)
        except (struct.error, TypeError):
            raise self._error(StorePayloadError, stream, "the envelope is cut off") from None
        if envelope != _FORMAT or flags & ~_KNOWN:
            detail = f"envelope format {envelope}, flags {flags}: written by a newer rstore, or by something else"
            raise self._error(StoreFormatError, stream, detail)
        if flags & _ENCRYPTED:
            return flags, self._decrypt(stream, record, data, what)
        if not self._plaintext:
            raise self._error(StorePlaintextError, stream)
        body = data[_PLAIN.size :]
        if zlib.crc32(body, flags) != checksum:
            raise self._error(StorePayloadError, stream, "the checksum does not match: it was damaged")
        return flags, body

    def _decompress(self, stream: Stream, body: bytes) -> bytes:
        try:
            return zlib.decompress(body)
        except zlib.error as exc:
            raise self._error(StorePayloadError, stream, "it does not decompress") from exc

    def _decrypt(self, stream: Stream, record: Record, data: bytes, what: bytes) -> bytes:
        if self._cipher is None:
            raise self._error(StoreMissingKeyError, stream)
        from rstore.encoding.cipher import NotAuthenticError, UnknownKeyError

        scope = _scope(self._namespace, stream)
        try:
            bound = _bound(scope, data[1], record.item, record.op, record.start, record.end) + what
        except (struct.error, AttributeError):
            raise self._error(StorePayloadError, stream, "its record is damaged") from None
        try:
            return self._cipher.decrypt(scope, memoryview(data)[_HEADER_BYTES:], bound)
        except UnknownKeyError:
            raise self._error(StoreWrongKeyError, stream) from None
        except NotAuthenticError:
            detail = "it is not authentic: changed, or moved from another namespace, key, item, time or operator"
            raise self._error(StorePayloadError, stream, detail) from None

    # -- envelopes to values ------------------------------------------------------------------------------------------

    @property
    def has_key(self) -> bool:
        """Whether what is written is encrypted."""
        return self._cipher is not None

    def check_op(self, stream: Stream, record: Record, known: Collection[str]) -> str:
        """Return the record's operator, or raise if it is none of those that its kind of stream has.

        Raises:
            StoreFormatError: it was written by a newer version, or by something else.
        """
        if record.op not in known:
            raise self._error(StoreFormatError, stream, f"operator {record.op!r}: written by a newer rstore")
        return record.op

    def value(self, stream: Stream, record: Record) -> Any:
        """Return the value of a record, None if it has none."""
        flags, data = self._open(stream, record)
        if flags & _COLUMNS:
            raise self._error(StorePayloadError, stream, "columns where one value should be")
        return self._load_value(stream, flags, data)

    def run(self, stream: Stream, record: Record, unpack: UnpackTimes = unpack_times) -> Run:
        """Return the points of a series' record. Values in typed columns are a :class:`rstore.encoding.columns.Table`.

        ``unpack`` reads times as :func:`rstore.encoding.packing.unpack_times` does.
        """
        flags, data = self._open(stream, record)
        if not flags & _COLUMNS:
            return (record.start,), (self._load_value(stream, flags, data),)
        index, values = self._load_columns(stream, flags, data)
        return self._timed(stream, record, index, values, unpack), values

    def _timed(
        self, stream: Stream, record: Record, index: bytes, values: Sequence[Any], unpack: UnpackTimes
    ) -> Sequence[int]:
        """Return the times of a segment, one for each of its values."""
        try:
            times: Sequence[int] = unpack(record.start, len(values), index)
        except (struct.error, ValueError, IndexError) as exc:
            raise self._error(StorePayloadError, stream, "its times can't be read") from exc
        if not len(values) or len(times) != len(values) or times[-1] != record.end:
            raise self._error(StorePayloadError, stream, "its times don't fit its span")
        return times

    def layout(self, stream: Stream, record: Record) -> Layout | None:
        """Return of what kind the columns of a series' record are; None if its values are not in typed columns."""
        if len(record.data) < _HEADER_BYTES or not record.data[1] & _TYPED:
            return None  # what else is wrong with it is no question here
        values = self.bare_run(stream, record)[1]
        return values.layout if isinstance(values, Table) else None

    def bare_run(self, stream: Stream, record: Record) -> Run:
        """Return what :meth:`run` does, with None in place of each value that would have to be loaded."""
        flags, data = self._open(stream, record)
        if not flags & _COLUMNS:
            return (record.start,), (None,)
        index, values = self._load_columns(stream, flags, data, load=lambda count, _: [None] * count)
        return self._timed(stream, record, index, values, unpack_times), values

    def state(self, stream: Stream, record: Record) -> dict[str, Any]:
        """Return the state of a snapshot."""
        flags, data = self._open(stream, record)
        index, values = self._load_columns(stream, flags, data)
        try:
            return dict(zip(unpack_texts(len(values), index), values, strict=True))
        except (ValueError, IndexError) as exc:
            raise self._error(StorePayloadError, stream, "its items can't be read") from exc

    def note(self, stream: Stream, record: Record) -> dict[str, Any]:
        """Return what is noted beside a record's value: who, why and more."""
        sealed = self._note(stream, record)
        return {} if sealed is None else self._words(stream, *sealed, "who and why")

    def words(self, stream: Stream, record: Record) -> dict[str, Any]:
        """Return the words in a record that has no value of a user: nothing of it is unpickled or loaded."""
        return self._words(stream, *self._unsealed(stream, record, record.data), "what it says")

    def _words(self, stream: Stream, flags: int, data: bytes, what: str) -> dict[str, Any]:
        try:
            words = json.loads(self._decompress(stream, data) if flags & _COMPRESSED else data)
        except ValueError as exc:
            raise self._error(StorePayloadError, stream, f"{what} can't be read") from exc
        if not isinstance(words, dict):
            raise self._error(StorePayloadError, stream, f"{what} can't be read")
        return words

    def _note(self, stream: Stream, record: Record) -> tuple[int, bytes] | None:
        """Return the flags and the body of the note's envelope, verified and decrypted; None if there never was one."""
        data, meta = record.data, record.meta
        is_noted = len(data) > 1 and bool(data[1] & _NOTED)
        if is_noted != (meta is not None):
            detail = "who and why are gone" if is_noted else "there was no who and why when it was written"
            raise self._error(StorePayloadError, stream, detail)
        return None if meta is None else self._unsealed(stream, record, meta, _note_of(data))

    # -- envelopes to envelopes ---------------------------------------------------------------------------------------

    def named(self, namespace: str) -> Envelope:
        """Return what seals and opens the same way, with the same keys, for another namespace."""
        return Envelope(namespace, self._dump, self._load, self._cipher, plaintext=self._plaintext)

    def seals_as(self, other: Envelope) -> bool:
        """Tell whether what another one has sealed may stay as it is: for the same namespace, with the same keys."""
        mine, theirs = self._cipher, other._cipher
        same_keys = mine is theirs or (mine is not None and theirs is not None and mine.has_keys_of(theirs))
        return self._namespace == other._namespace and same_keys

    def opened(self, stream: Stream, record: Record) -> tuple[Body, Body | None]:
        """Return the bodies of a record's value and note, verified and decrypted. Nothing of them is loaded."""
        note = self._note(stream, record)
        return _bare(*self._unsealed(stream, record, record.data)), None if note is None else _bare(*note)

    def adopted(self, stream: Stream, record: Record, source: Envelope) -> Record:
        """Return a record that another one has sealed as this one seals it. Nothing is decompressed or loaded.

        Raises:
            StorePayloadError: value or note can't be opened.
        """
        body, note = source.opened(stream, record)
        start, end, item, op = record.start, record.end, record.item, record.op
        sealed = self.entry(stream, op, body, item=item, start=start, end=end, note=note)
        return record._replace(data=sealed.data, meta=sealed.meta)

    def check(self, stream: Stream, record: Record) -> None:
        """Raise if a record that has no value of its own, such as a hole, is not what was written there."""
        self._open(stream, record)

    def _load_value(self, stream: Stream, flags: int, data: bytes) -> Any:
        if not flags & _DUMPED and not data:
            return None
        load = self._loader(stream, flags)
        try:
            return load(data.decode("utf-8", "surrogatepass") if flags & _TEXT else data)
        except Exception as exc:
            raise self._unloadable(StorePayloadError, stream, why_unloadable(exc)) from exc

    def _load_columns(
        self, stream: Stream, flags: int, data: bytes, load: LoadValues | None = None
    ) -> tuple[bytes, Sequence[Any]]:
        """Return the bytes of the times or items, and the values, as ``load`` makes them of their number and bytes."""
        load = load or partial(self._load_values, stream, flags)
        try:
            count, size = _COUNTS.unpack_from(data)
            start = _COUNTS.size + size
            index, values = data[_COUNTS.size : start], data[start:]
            if flags & _TYPED:
                return index, decode(values, count, load)
            return index, load(count, values)
        except StorePayloadError:
            raise
        except UnknownColumnError as exc:
            raise self._error(StoreFormatError, stream, f"{exc}: written by a newer rstore") from exc
        except Exception as exc:
            raise self._unloadable(StorePayloadError, stream, why_unloadable(exc)) from exc

    def _load_values(self, stream: Stream, flags: int, count: int, data: bytes) -> list[Any]:
        load = self._loader(stream, flags)
        loaded: list[Any] = [load(value) for value in _unpack_dumped(count, data)] if flags & _DUMPED else load(data)
        if len(loaded) != count:
            raise ValueError("the columns are of different lengths")
        return loaded

    def _loader(self, stream: Stream, flags: int) -> Callable[[Any], Any]:
        if not flags & _DUMPED:
            if self._load is None:
                return pickle.loads
            detail = "pickled, and this Store has a _load of its own that never is"
            raise self._unloadable(StoreFormatError, stream, detail)
        if self._load is None:
            detail = "written by a Store with its own _dump: open it with that"
            raise self._unloadable(StoreFormatError, stream, detail)
        return self._load

    def _unloadable(self, error: type[StorePayloadError], stream: Stream, detail: str) -> StorePayloadError:
        """Return the error of a payload that is genuine, since it was opened, and that cannot be loaded."""
        found = self._error(error, stream, detail)
        found.is_genuine = True
        return found

    def _error(self, error: type[StorePayloadError], stream: Stream, detail: str = "") -> StorePayloadError:
        return error(self._namespace, stream.kind, stream.key, detail)


def note_body(words: Mapping[str, Any]) -> Body:
    """Return the body of a note. It is JSON whatever the values are: so who reads an audit trail loads no pickle.

    Raises:
        TypeError, ValueError: there is no JSON for it.
    """
    try:
        return _body(0, _note_json(words))
    except (TypeError, ValueError, RecursionError):
        for word, value in words.items():
            _check_word(word, value)
        raise


def _note_json(words: Mapping[str, Any]) -> bytes:
    return json.dumps(words, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _check_word(word: str, value: Any) -> None:
    """Raise if JSON can't hold a word of a note, and name it."""
    problem = f"context({ascii(word)[1:-1]}=...):"
    try:
        _note_json({word: value})
    except UnicodeEncodeError:
        raise ValueError(f"{problem} a text can't have lone surrogates: {ascii(value)[:60]}") from None
    except RecursionError:
        raise ValueError(f"{problem} it is nested too deeply for JSON") from None
    except TypeError as exc:
        raise TypeError(f"{problem} {exc}; give what JSON can hold, or its str()") from None
    except ValueError as exc:
        raise ValueError(f"{problem} there is no JSON for it: {exc}") from None


ATOMS: Final = frozenset({int, float, complex, bool, str, bytes, type(None)})
"""Types whose values nobody can change, so that they may be shared."""


def _plain(body: Body) -> bytes:
    return _PLAIN.pack(_FORMAT, body.flags, zlib.crc32(body.data, body.flags)) + body.data


def _body(flags: int, data: bytes) -> Body:
    """Compress where that saves something: a sample tells, so that large photographs don't cost a full try."""
    if len(data) < _COMPRESS_FROM or (len(data) > _SAMPLE and not _shrinks(data[:_SAMPLE])):
        return Body(flags, data)
    packed = zlib.compress(data, _COMPRESS_LEVEL)
    return Body(flags | _COMPRESSED, packed) if len(packed) < len(data) else Body(flags, data)


def _shrinks(data: bytes) -> bool:
    return len(zlib.compress(data, _COMPRESS_LEVEL)) < len(data)


def _typed_body(flags: int, data: bytes) -> Body:
    """Compress typed columns only where a sample shrinks to an eighth: else it takes longer than all else together."""
    if len(data) < _COMPRESS_FROM:
        return Body(flags, data)
    step = max(1, len(data) // _SAMPLES_OF_TYPED)
    sample = b"".join(data[start : start + _SAMPLE_OF_TYPED] for start in range(0, len(data), step))
    if _SHRINKS_TO * len(zlib.compress(sample, _COMPRESS_LEVEL)) > len(sample):
        return Body(flags, data)
    return Body(flags | _COMPRESSED, zlib.compress(data, _COMPRESS_LEVEL))


def _bare(flags: int, data: bytes) -> Body:
    return Body(flags & ~_OF_SEALING, data)


def _note_of(data: bytes) -> bytes:
    """Return what a note is bound to beside its place: the envelope of the value."""
    return _NOTE + data[-_TAG_BYTES:]


def _scope(namespace: str, stream: Stream) -> bytes:
    return pack_texts((namespace, stream.kind, stream.key))


def _bound(scope: bytes, flags: int, item: str, op: str, start: int, end: int) -> bytes:
    return struct.pack("<BBqq", _FORMAT, flags, start, end) + scope + pack_texts((item, op))


def _as_bytes(dumped: object) -> tuple[bool, bytes]:
    if isinstance(dumped, str):
        return True, dumped.encode("utf-8", "surrogatepass")
    if isinstance(dumped, bytes | bytearray | memoryview):
        return False, bytes(dumped)
    raise TypeError(f"_dump returns str or bytes, not {type(dumped).__name__}")


def _pack_dumped(values: Iterable[str | bytes]) -> bytes:
    """Pack what a user's _dump returned; each value's last byte tells text from bytes."""
    return pack_blobs([data + (b"t" if text else b"b") for text, data in map(_as_bytes, values)])


def _unpack_dumped(count: int, data: bytes) -> list[str | bytes]:
    return [
        blob[:-1].decode("utf-8", "surrogatepass") if blob[-1:] == b"t" else blob[:-1]
        for blob in unpack_blobs(count, data)
    ]

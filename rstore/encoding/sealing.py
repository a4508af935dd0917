"""Sealing: a body becomes an envelope that opens only at its place in the log.

An envelope is ``format | flags | checksum | body``, or encrypted ``format | flags | key id | nonce | ciphertext``. The
flags say how the body was made.

A note has an envelope of its own beside that of the value. It belongs to that very envelope, whose flags say that there
is one. So nobody without the key can remove the note, exchange it or add one.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

from rstore.domain.errors import (
    StoreFormatError,
    StoreMissingKeyError,
    StorePayloadError,
    StorePlaintextError,
    StoreWrongKeyError,
)
from rstore.domain.log import Entry, Record
from rstore.domain.streams import Stream
from rstore.encoding.bodies import COMPRESSED, ENCRYPTED, KNOWN, NOTED, NOTHING, OF_SEALING, SUMMED, TYPED, Body
from rstore.encoding.checksums import CutError, Opened, guarded, split, unguarded
from rstore.encoding.packing import pack_texts

if TYPE_CHECKING:
    from rstore.encoding.cipher import Cipher

_FORMAT: Final = 1
_PLAIN: Final = struct.Struct("<BBI")
_HEADER_BYTES: Final = 2
_NOTE: Final = b"note"
_TAG_BYTES: Final = 16  # at the end of each ciphertext: no two have the same
_OPENED_FURTHER: Final = SUMMED | COMPRESSED | TYPED
_GUARDED_WHOLE: Final = frozenset(flags for flags in range(256) if not flags & (ENCRYPTED | SUMMED | TYPED | ~KNOWN))
"""The flags of envelopes whose checksum is that of the body: most are, and opening them takes no further call."""


def flags_of(data: bytes) -> int:
    """Return the flags of an envelope, 0 if it is cut off before them. They are not verified."""
    return data[1] if len(data) >= _HEADER_BYTES else 0


def is_encrypted(data: bytes) -> bool:
    """Tell whether an envelope is encrypted, as its flags say: no key is needed."""
    return bool(flags_of(data) & ENCRYPTED)


class Sealer:
    """Seals bodies for one namespace and opens its envelopes. It neither dumps nor loads a value.

    With a cipher it encrypts everything and, unless ``plaintext``, opens only encrypted envelopes.
    """

    def __init__(self, namespace: str, cipher: Cipher | None = None, *, plaintext: bool = False) -> None:
        self.namespace, self._cipher, self._plaintext = namespace, cipher, plaintext or cipher is None

    @property
    def has_key(self) -> bool:
        """Whether this sealer encrypts."""
        return self._cipher is not None

    def has_key_of(self, record: Record) -> bool:
        """Tell whether a record is encrypted with one of the keys, without opening it."""
        return self._cipher is not None and is_encrypted(record.data) and self._cipher.knows(_ciphertext(record))

    def is_current(self, record: Record) -> bool:
        """Tell whether a record, value and note, is encrypted with the first key, without opening it."""
        return self._cipher is None or (is_encrypted(record.data) and self._cipher.is_current(_ciphertext(record)))

    def seals_as(self, other: Sealer) -> bool:
        """Tell whether another sealer's envelopes may stay as they are: same namespace, same keys."""
        mine, theirs = self._cipher, other._cipher
        same_keys = mine is theirs or (mine is not None and theirs is not None and mine.has_keys_of(theirs))
        return self.namespace == other.namespace and same_keys

    def named(self, namespace: str) -> Sealer:
        """Return the sealer of another namespace with the same keys."""
        return Sealer(namespace, self._cipher, plaintext=self._plaintext)

    # -- seal ---------------------------------------------------------------------------------------------------------

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
        if note is not None:
            body = Body(body.flags | NOTED, body.data)
        if self._cipher is None:
            return Entry(start, end, item, op, _plain(body), None if note is None else _plain(note))
        place = item, op, start, end
        data = self._encrypted(stream, body, *place)
        meta = None if note is None else self._encrypted(stream, note, *place, _bound_to_value(data))
        return Entry(start, end, item, op, data, meta)

    def _encrypted(
        self, stream: Stream, body: Body, item: str, op: str, start: int, end: int, beside: bytes = b""
    ) -> bytes:
        flags, scope = body.flags | ENCRYPTED, _scope(self.namespace, stream)
        sealed: bytes = self._cipher.encrypt(  # type: ignore[union-attr]  # there is one
            scope, body.data, _bound(scope, flags, item, op, start, end) + beside
        )
        return bytes((_FORMAT, flags)) + sealed

    # -- open ---------------------------------------------------------------------------------------------------------

    def open(self, stream: Stream, record: Record) -> tuple[int, Any]:
        """Return the flags and the body of a record's envelope, verified, decrypted and decompressed.

        The body of typed columns is a view, so that nobody copies half a megabyte for a few rows of it.
        """
        flags, data = found = self._unsealed(stream, record, record.data)
        if not flags & _OPENED_FURTHER:
            return found
        if flags & SUMMED:
            data = self._rest(stream, data)
        data = self._decompressed(stream, data) if flags & COMPRESSED else data
        return flags, memoryview(data) if flags & TYPED else data

    def open_note(self, stream: Stream, record: Record) -> bytes | None:
        """Return the body of a record's note, verified, decrypted and decompressed; None if there never was one."""
        sealed = self._unsealed_note(stream, record)
        if sealed is None:
            return None
        flags, data = sealed
        return self._decompressed(stream, data) if flags & COMPRESSED else data

    def check(self, stream: Stream, record: Record) -> None:
        """Raise if a record that has no value of its own, such as a hole, was not written there."""
        self.open(stream, record)

    def opened_lazily(self, stream: Stream, record: Record, *, is_cut: bool = False) -> Opened | None:
        """Return the body of a record that has a summary: of one in clear, only that is verified yet.

        Of a record that ``is_cut`` it is None if the summary is not all there.
        """
        try:
            flags, checksum = self._begun(stream, record.data)
            if flags & ENCRYPTED:
                return None if is_cut else Opened(*split(memoryview(self._decrypted(stream, record, record.data, b""))))
            return unguarded(memoryview(record.data)[_PLAIN.size :], flags, checksum, is_cut=is_cut)[0]
        except (struct.error, ValueError) as exc:
            if is_cut and isinstance(exc, CutError | struct.error):
                return None
            raise self._damaged(stream) from exc

    def _begun(self, stream: Stream, data: bytes) -> tuple[int, int]:
        """Return the flags and the checksum of an envelope that this store may open."""
        try:
            envelope, flags, checksum = _PLAIN.unpack_from(data)
        except (struct.error, TypeError):
            raise StorePayloadError(self.namespace, *stream, "the envelope is cut off") from None
        if envelope != _FORMAT or flags & ~KNOWN or flags & (SUMMED | TYPED) == SUMMED:
            detail = f"envelope format {envelope}, flags {flags}: a newer rstore wrote it, or another program"
            raise StoreFormatError(self.namespace, *stream, detail)
        if not flags & ENCRYPTED and not self._plaintext:
            raise StorePlaintextError(self.namespace, *stream)
        return flags, checksum

    def _damaged(self, stream: Stream) -> StorePayloadError:
        return StorePayloadError(self.namespace, *stream, "the checksum does not match: it was damaged")

    def _unsealed(self, stream: Stream, record: Record, data: bytes, beside: bytes = b"") -> tuple[int, Any]:
        """Return the flags and the body of an envelope, verified and decrypted; ``beside`` is the one of a value."""
        if self._plaintext and type(data) is bytes and len(data) >= _PLAIN.size:
            envelope, flags, checksum = _PLAIN.unpack_from(data)
            if envelope == _FORMAT and flags in _GUARDED_WHOLE:
                body: Any = data[_PLAIN.size :]
                if zlib.crc32(body, flags) != checksum:
                    raise self._damaged(stream)
                return flags, body
        flags, checksum = self._begun(stream, data)
        if flags & ENCRYPTED:
            return flags, self._decrypted(stream, record, data, beside)
        if flags & SUMMED:
            try:
                opened, whole = unguarded(memoryview(data)[_PLAIN.size :], flags, checksum)
                opened.check(0, len(opened.rest))
            except (struct.error, ValueError) as exc:
                raise self._damaged(stream) from exc
            return flags, whole
        body = memoryview(data)[_PLAIN.size :] if flags & TYPED else data[_PLAIN.size :]
        if zlib.crc32(body, flags) != checksum:
            raise self._damaged(stream)
        return flags, body

    def _unsealed_note(self, stream: Stream, record: Record) -> tuple[int, bytes] | None:
        data, meta = record.data, record.meta
        is_noted = bool(flags_of(data) & NOTED)
        if is_noted != (meta is not None):
            detail = "who and why are gone" if is_noted else "there was no who and why when it was written"
            raise StorePayloadError(self.namespace, *stream, detail)
        return None if meta is None else self._unsealed(stream, record, meta, data)

    def _decrypted(self, stream: Stream, record: Record, data: bytes, beside: bytes) -> bytes:
        if self._cipher is None:
            raise StoreMissingKeyError(self.namespace, *stream)
        from rstore.encoding.cipher import NotAuthenticError, UnknownKeyError

        scope = _scope(self.namespace, stream)
        try:
            place = _bound(scope, data[1], record.item, record.op, record.start, record.end)
            bound = place + _bound_to_value(beside) if beside else place
        except (struct.error, AttributeError):
            raise StorePayloadError(self.namespace, *stream, "its record is damaged") from None
        try:
            return self._cipher.decrypt(scope, memoryview(data)[_HEADER_BYTES:], bound)
        except UnknownKeyError:
            raise StoreWrongKeyError(self.namespace, *stream) from None
        except NotAuthenticError:
            detail = "it is not authentic: changed, or moved from another namespace, key, item, time or operator"
            raise StorePayloadError(self.namespace, *stream, detail) from None

    def _rest(self, stream: Stream, body: Any) -> memoryview:
        try:
            return split(memoryview(body))[1]
        except (struct.error, ValueError) as exc:
            raise self._damaged(stream) from exc

    def _decompressed(self, stream: Stream, data: bytes) -> bytes:
        try:
            return zlib.decompress(data)
        except zlib.error as exc:
            raise StorePayloadError(self.namespace, *stream, "it does not decompress") from exc

    # -- seal anew ----------------------------------------------------------------------------------------------------

    def opened(self, stream: Stream, record: Record) -> tuple[Body, Body | None]:
        """Return the bodies of a record's value and note, verified and decrypted, as they were compressed."""
        note = self._unsealed_note(stream, record)
        return _bare(*self._unsealed(stream, record, record.data)), None if note is None else _bare(*note)

    def adopted(self, stream: Stream, record: Record, source: Sealer) -> Record:
        """Return a record that another sealer has sealed as this one seals it.

        Raises:
            StorePayloadError: the source can't open value or note.
        """
        body, note = source.opened(stream, record)
        start, end, item, op = record.start, record.end, record.item, record.op
        sealed = self.entry(stream, op, body, item=item, start=start, end=end, note=note)
        return record._replace(data=sealed.data, meta=sealed.meta)


def _plain(body: Body) -> bytes:
    if body.flags & SUMMED:
        front, rest = guarded(body.data)
        return b"".join((_PLAIN.pack(_FORMAT, body.flags, zlib.crc32(front, body.flags)), front, rest))
    return _PLAIN.pack(_FORMAT, body.flags, zlib.crc32(body.data, body.flags)) + body.data


def _bare(flags: int, data: Any) -> Body:
    return Body(flags & ~OF_SEALING, bytes(data))


def _ciphertext(record: Record) -> memoryview:
    return memoryview(record.data)[_HEADER_BYTES:]


def _scope(namespace: str, stream: Stream) -> bytes:
    return pack_texts((namespace, *stream))


def _bound(scope: bytes, flags: int, item: str, op: str, start: int, end: int) -> bytes:
    """Return the associated data of a ciphertext: its place in the log."""
    return struct.pack("<BBqq", _FORMAT, flags, start, end) + scope + pack_texts((item, op))


def _bound_to_value(data: bytes) -> bytes:
    """Return the associated data that a note has beside its place: the envelope of the value."""
    return _NOTE + data[-_TAG_BYTES:]
